"""What methods share whose features never change after the first task."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from genifer.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor


class FrozenExtractor(Method):
    """A method on the pooled features of the first task's classifier. It keeps statistics, not images."""

    first_task: ClassVar[Literal["shared", "memory", "own"]] = "memory"

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (n, features), float, of normalised images."""
        from genifer.nn.stages import POOLED

        return self.classifier.features(images, POOLED).float()

    def features_of_task(self) -> tuple[Tensor, Tensor]:
        """Features (n, features) of all images of the task, in order, and their labels (n,)."""
        import torch

        with torch.no_grad():
            pairs = [(self.features(images), labels) for images, labels in self.ordered_batches()]
        features, labels = zip(*pairs, strict=True)
        return torch.cat(features), torch.cat(labels)

    def new_classes(self) -> range:
        """Labels of the task's classes."""
        return range(self.data.n_old, self.data.n_old + self.data.n_new)

    def means_so_far(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean features (classes so far, features): those in the memory, and those of the task's classes."""
        import torch

        means = [features[labels == label].mean(0) for label in self.new_classes()]
        return torch.stack([*self.memory.get("means", []), *means])
