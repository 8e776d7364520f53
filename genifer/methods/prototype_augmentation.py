"""PASS (Zhu et al., 2021): noisy prototypes stand for old classes, rotations for other features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from genifer.methods.method import Batch, Method
from genifer.methods.rotation import ROTATIONS, rotate
from genifer.settings import TrainingSettings, Weight

if TYPE_CHECKING:
    from torch import Tensor


class PassSettings(TrainingSettings):
    """Settings of prototype augmentation."""

    prototype_weight: Weight = Field(10.0, description="weight of the cross-entropy on noisy prototypes")
    feature_weight: Weight = Field(10.0, description="weight of the distance to the teacher's features")


class Pass(Method):
    """Prototype augmentation: means of old classes with noise train the head; features change little.

    PASS of Zhu et al. (2021, section 3): noise is as wide as the first task's features are around their class
    means; new classes come in four rotations. With ``pretrain_classifier.rotations`` so do those of the first
    task. Left out: rotated prototypes of old classes. It keeps a vector per class, and one number.
    """

    name = "pass"
    version = 1
    Settings = PassSettings
    splits_batches = True
    uses_teacher = True
    first_task = "memory"
    settings: PassSettings

    def setup(self) -> None:
        """Add the rotated classes to the head; not on the first task, whose training is over."""
        self.classifier.grow(ROTATIONS * self.data.n_new)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy on rotated images and on noisy prototypes, and distance to the teacher's features."""
        import torch
        import torch.nn.functional as F

        from genifer.nn.losses import feature_distillation
        from genifer.nn.stages import POOLED

        assert batch.replay is not None
        assert batch.replay_labels is not None
        images, labels = rotate(batch.images, batch.labels, self.data.n_new)
        features = self.classifier.features(images.contiguous(memory_format=torch.channels_last), POOLED)
        with torch.no_grad():
            old_features = self.teacher.features(batch.images, POOLED)
        logits = self.classifier(torch.cat([features, batch.replay.to(features.dtype)]), start=POOLED).float()
        n = len(labels)
        cross_entropy = F.cross_entropy(logits[:n], labels)
        of_prototypes = F.cross_entropy(logits[n:], batch.replay_labels)
        distance = feature_distillation(old_features, features[: len(old_features)], "L2")
        loss = (
            cross_entropy
            + self.settings.prototype_weight * of_prototypes
            + self.settings.feature_weight * distance
        )
        return {
            "loss": loss,
            "cross_entropy": cross_entropy,
            "prototypes": of_prototypes,
            "feature_distillation": distance,
        }

    def draw_batch(self) -> Batch:
        """Draw new images, and as many noisy prototypes of random old classes."""
        import torch

        batch = super().draw_batch()
        n, device = len(batch.labels), self.job.device
        asked = torch.randint(self.data.n_old, (n,), generator=self.rng, device=device)
        means = self.memory["means"][asked]
        noise = torch.randn(means.shape, generator=self.rng, device=device)
        return batch._replace(replay=means + self.memory["radius"] * noise, replay_labels=asked)

    def finish(self) -> dict[str, Tensor]:
        """Drop the rotated classes, add the means of new ones; the first task leaves the radius, too."""
        import torch

        from genifer.nn.stages import POOLED

        self.classifier.keep_classes(self.data.n_old + self.data.n_new)
        with torch.no_grad():
            pairs = [(self.classifier.features(x, POOLED).float(), y) for x, y in self.ordered_batches()]
        features, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        of_class = [features[labels == label] for label in labels.unique()]
        means = torch.stack([*self.memory.get("means", []), *(rows.mean(0) for rows in of_class)])
        if self.memory:
            return {"means": means, "radius": self.memory["radius"]}
        spread = torch.stack([rows.var(0, unbiased=False).mean() for rows in of_class])
        return {"means": means, "radius": spread.mean().sqrt()}
