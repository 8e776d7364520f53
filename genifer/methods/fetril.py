"""Feature translation (Petit et al., 2023): features of new classes, moved to the means of the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genifer.methods.frozen import FrozenExtractor
from genifer.methods.method import Batch
from genifer.settings import HeadSettings

if TYPE_CHECKING:
    from torch import Tensor


class Fetril(FrozenExtractor):
    """Frozen extractor: features of new classes, moved to the means of old ones, train the head.

    FeTrIL of Petit et al. (2023, section 3): pseudo-features of an old class are those of the new class
    whose mean is most similar (cosine), shifted by the difference of the two means. The head is their fully
    connected layer. Left out: the linear support vector machine in its place, and more than one source
    class. It keeps one vector per class.
    """

    name = "fetril"
    version = 1
    Settings = HeadSettings
    splits_batches = True
    settings: HeadSettings

    def prepare(self) -> dict[str, Tensor]:
        """Compute the features of the task's images, sorted by class, and each class's source."""
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
        """Draw classes so far equally often, and for each a feature of its source, moved to its mean."""
        import torch

        n, device, prepared = self.settings.batch_size, self.job.device, self.prepared
        means, n_old = prepared["means"], self.data.n_old
        labels = torch.randint(len(means), (n,), generator=self.rng, device=device)
        source = prepared["source"][labels]
        part = torch.rand(n, generator=self.rng, device=device, dtype=torch.float64)
        rows = prepared["first"][source] + (part * prepared["counts"][source]).long()
        return Batch(prepared["features"][rows] + means[labels] - means[n_old + source], labels)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the head on features."""
        from genifer.nn.losses import cross_entropy_and_accuracy
        from genifer.nn.stages import POOLED

        return cross_entropy_and_accuracy(self.classifier(batch.images, start=POOLED), batch.labels)

    def finish(self) -> dict[str, Tensor]:
        """Add the mean features of the task's classes."""
        return {"means": self.means_so_far(*self.features_of_task())}
