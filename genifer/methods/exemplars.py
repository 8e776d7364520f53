"""Rehearsal of stored images (Rebuffi et al., 2017), which shows what learning without them costs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pydantic import Field

from genifer.methods.lwf import DistillationSettings, losses_with_distillation
from genifer.methods.method import Batch, Method
from genifer.settings import PositiveInt

if TYPE_CHECKING:
    from torch import Tensor


class ExemplarsSettings(DistillationSettings):
    """Settings of the training with stored images."""

    per_class: PositiveInt = Field(20, description="stored images of each class")
    nearest_mean: bool = Field(
        True, description="classify by the nearest mean feature of the stored images instead of by the head"
    )


class Exemplars(Method):
    """Stored images of each old class are mixed with new ones; the teacher's outputs on both are distilled.

    iCaRL of Rebuffi et al. (2017): herding selects the images (algorithm 4), and images are classified by
    the nearest mean of the stored ones' normalised features (algorithm 1). The losses use a softmax over all
    classes instead of the binary losses of algorithm 3, because all methods share the first classifier.
    Omitted: a total budget of images shared by all classes. Except for joint, no other method opens images
    of old tasks.
    """

    name = "exemplars"
    version = 2
    Settings = ExemplarsSettings
    splits_batches = True
    uses_teacher = True
    first_task = "memory"
    stores_exemplars = True
    only_for_training = ("images", "labels")
    settings: ExemplarsSettings

    def setup(self) -> None:
        """Draw batches from the task's images and the stored images together."""
        import torch

        from genifer.data.batches import ShuffledBatches

        images = self.data.images.joined(self.memory["images"])
        labels = torch.cat([self.data.labels, self.memory["labels"]])
        together = dataclasses.replace(self.data, images=images, labels=labels)
        self.batches = ShuffledBatches(together, self.settings.batch_size, self.rng)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy over all classes plus the distillation of the old classes' outputs."""
        return losses_with_distillation(self, batch, self.settings)

    def finish(self) -> dict[str, Tensor]:
        """Select images of the task's classes, and compute the mean features of all stored images."""
        import torch

        images, labels = [], []
        for label in range(self.data.n_old, self.data.n_old + self.data.n_new):
            of_class = self.data.of_class(label)
            chosen = herd(self.directions(of_class), self.settings.per_class)
            images.append(of_class[chosen])
            labels.append(torch.full_like(chosen, label))
        stored = torch.cat([*([self.memory["images"]] if self.memory else []), *images])
        of_stored = torch.cat([*([self.memory["labels"]] if self.memory else []), *labels])
        directions = self.directions(stored)
        means = [directions[of_stored == label].mean(0) for label in range(int(of_stored.max()) + 1)]
        return {"images": stored, "labels": of_stored, "means": torch.stack(means)}

    def directions(self, images: Tensor) -> Tensor:
        """Return the pooled features (n, features), at unit length, of uint8 images (n, ...)."""
        import torch

        with torch.no_grad():
            return torch.cat([self._directions(self.normalize(some)) for some in images.split(500)])

    def _directions(self, images: Tensor) -> Tensor:
        import torch.nn.functional as F

        from genifer.nn.stages import POOLED

        return F.normalize(self.classifier.features(images, POOLED).float(), dim=1)

    def logits(self, images: Tensor) -> Tensor:
        """Return the negative distances to the mean features of stored images, or the head's outputs."""
        import torch
        import torch.nn.functional as F

        if not self.settings.nearest_mean:
            return self.classifier(images)
        return -torch.cdist(self._directions(images), F.normalize(self.memory["means"], dim=1))


def herd(features: Tensor, count: int) -> Tensor:
    """Choose rows one by one so that the mean of the chosen rows stays close to the mean of all.

    Args:
        features: (n, dim).
        count: number of rows to choose; all of them if there are fewer.

    Returns:
        (min(count, n),), int64: row indices in the order in which they were chosen.
    """
    import torch

    mean, total = features.mean(0), torch.zeros_like(features[0])
    left = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen = []
    for position in range(min(count, len(features))):
        distances = (mean - (total + features) / (position + 1)).norm(dim=1)
        row = distances.masked_fill(~left, torch.inf).argmin()
        total = total + features[row]
        left[row] = False
        chosen.append(row)
    return torch.stack(chosen)
