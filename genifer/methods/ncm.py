"""Nearest class mean on frozen features, the baseline that trains nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genifer.methods.method import Method
from genifer.settings import FrozenSettings

if TYPE_CHECKING:
    from torch import Tensor


class Ncm(Method):
    """Frozen baseline: nearest class mean in the features of the first task's classifier.

    The nearest-class-mean classifier of Mensink et al. (2013) with the Euclidean distance, on the pooled
    features. Left out: their learned metric. It keeps one vector per class.
    """

    name = "ncm"
    version = 1
    Settings = FrozenSettings
    first_task = "memory"

    def finish(self) -> dict[str, Tensor]:
        """Add the mean features of the task's classes."""
        import torch

        with torch.no_grad():
            pairs = [(self.features(images), labels) for images, labels in self.ordered_batches()]
        features, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        new = range(self.data.n_old, self.data.n_old + self.data.n_new)
        means = [features[labels == label].mean(0) for label in new]
        return {"means": torch.stack([*self.memory.get("means", []), *means])}

    def logits(self, images: Tensor) -> Tensor:
        """Negative distances to the means of the classes."""
        import torch

        return -torch.cdist(self.features(images), self.memory["means"])

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (n, features) of normalised images."""
        from genifer.nn.stages import POOLED

        return self.classifier.features(images, POOLED).float()
