"""Feature translation (Petit et al., 2023): features of new classes, shifted to the means of old classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genifer.methods.frozen import FrozenExtractor
from genifer.methods.method import Batch
from genifer.settings import HeadSettings

if TYPE_CHECKING:
    from torch import Tensor


class Fetril(FrozenExtractor):
    """Frozen extractor: the head trains on features of new classes, shifted to the means of old classes.

    FeTrIL of Petit et al. (2023, section 3): the pseudo-features of an old class are the features of the new
    class with the most similar mean (cosine), shifted by the difference of the two means. The head is their
    fully connected layer. Omitted: the linear support vector machine as the head, and more than one source
    class. The memory holds one vector per class.
    """

    name = "fetril"
    version = 1
    Settings = HeadSettings
    splits_batches = True
    settings: HeadSettings

    def prepare(self) -> dict[str, Tensor]:
        """Compute the features of the task's images, sorted by class, and the source class of each class."""
        import torch
        import torch.nn.functional as F

        features, labels = self.features_of_task()
        means = self.means_so_far(features, labels)
        n_old = self.data.n_old
        new = F.normalize(means[n_old:], dim=1)
        nearest = (F.normalize(means[:n_old], dim=1) @ new.T).argmax(1)
        counts = torch.bincount(labels - n_old, minlength=self.data.n_new)
        return {
            "features": features[labels.argsort(stable=True)],
            "counts": counts,
            "first": counts.cumsum(0) - counts,
            "source": torch.cat([nearest, torch.arange(self.data.n_new, device=labels.device)]),
            "means": means,
        }

    def draw_batch(self) -> Batch:
        """Draw classes so far uniformly, and for each a feature of its source class, shifted to its mean."""
        import torch

        n, device, prepared = self.settings.batch_size, self.job.device, self.prepared
        means, n_old = prepared["means"], self.data.n_old
        labels = torch.randint(len(means), (n,), generator=self.rng, device=device)
        source = prepared["source"][labels]
        part = torch.rand(n, generator=self.rng, device=device, dtype=torch.float64)
        rows = prepared["first"][source] + (part * prepared["counts"][source]).long()
        return Batch(prepared["features"][rows] + means[labels] - means[n_old + source], labels)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the head's cross-entropy on features."""
        from genifer.nn.losses import cross_entropy_and_accuracy
        from genifer.nn.stages import POOLED

        return cross_entropy_and_accuracy(self.classifier(batch.images, start=POOLED), batch.labels)

    def finish(self) -> dict[str, Tensor]:
        """Add the mean features of the task's classes to the memory."""
        return {"means": self.means_so_far(*self.features_of_task())}
