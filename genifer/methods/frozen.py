"""The base class of methods that freeze the feature extractor after the first task."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from genifer.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor


class FrozenExtractor(Method):
    """A method on the pooled features of the first task's classifier; it stores statistics, not images."""

    first_task: ClassVar[Literal["shared", "memory", "own"]] = "memory"

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled features (n, features), float, of normalised images."""
        from genifer.nn.stages import POOLED

        return self.classifier.features(images, POOLED).float()

    def features_of_task(self) -> tuple[Tensor, Tensor]:
        """Return the features (n, features) of all images of the task, in order, and their labels (n,)."""
        import torch

        with torch.no_grad():
            pairs = [(self.features(images), labels) for images, labels in self.ordered_batches()]
        features, labels = zip(*pairs, strict=True)
        return torch.cat(features), torch.cat(labels)

    def new_classes(self) -> range:
        """Return the labels of the task's classes."""
        return range(self.data.n_old, self.data.n_old + self.data.n_new)

    def means_so_far(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the mean features (classes so far, features): the memory's, then the task's."""
        import torch

        means = [features[labels == label].mean(0) for label in self.new_classes()]
        return torch.stack([*self.memory.get("means", []), *means])
