"""Nearest class mean on frozen features, a baseline without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genifer.methods.frozen import FrozenExtractor
from genifer.settings import FrozenSettings

if TYPE_CHECKING:
    from torch import Tensor


class Ncm(FrozenExtractor):
    """Frozen baseline: nearest class mean in the features of the first task's classifier.

    The nearest-class-mean classifier of Mensink et al. (2013) with the Euclidean distance, on the pooled
    features. Omitted: their learned metric. The memory holds one vector per class.
    """

    name = "ncm"
    version = 1
    Settings = FrozenSettings

    def finish(self) -> dict[str, Tensor]:
        """Add the mean features of the task's classes to the memory."""
        return {"means": self.means_so_far(*self.features_of_task())}

    def logits(self, images: Tensor) -> Tensor:
        """Return the negative distances to the class means."""
        import torch

        return -torch.cdist(self.features(images), self.memory["means"])
