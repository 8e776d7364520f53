"""PASS (Zhu et al., 2021): noisy prototypes stand in for old classes; rotations enrich the features."""

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
    """Prototype augmentation: noisy class means stand in for old classes; features are distilled.

    PASS of Zhu et al. (2021, section 3): the noise has the standard deviation of the first task's features
    around their class means; new classes are learned in four rotations, and with
    ``pretrain_classifier.rotations`` so are those of the first task. Omitted: rotated prototypes of old
    classes, and the temperature by which the authors' code divides the logits. That code distils the features
    of all four rotations with one norm over the batch; this one averages the norms of the upright images. The
    memory holds one vector per class, and one number.
    """

    name = "pass"
    version = 1
    Settings = PassSettings
    splits_batches = True
    uses_teacher = True
    first_task = "memory"
    settings: PassSettings

    def setup(self) -> None:
        """Add the rotated classes to the head. Not called on the first task, which is already trained."""
        self.classifier.grow(ROTATIONS * self.data.n_new)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropies on rotated images and prototypes, and the feature distillation."""
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
        prototype_loss = F.cross_entropy(logits[n:], batch.replay_labels)
        distance = feature_distillation(old_features, features[: len(old_features)], "L2")
        loss = (
            cross_entropy
            + self.settings.prototype_weight * prototype_loss
            + self.settings.feature_weight * distance
        )
        return {
            "loss": loss,
            "cross_entropy": cross_entropy,
            "prototypes": prototype_loss,
            "feature_distillation": distance,
        }

    def draw_batch(self) -> Batch:
        """Draw new images, and as many noisy prototypes of random old classes."""
        import torch

        batch = super().draw_batch()
        n, device = len(batch.labels), self.job.device
        replay_labels = torch.randint(self.data.n_old, (n,), generator=self.rng, device=device)
        means = self.memory["means"][replay_labels]
        noise = torch.randn(means.shape, generator=self.rng, device=device)
        return batch._replace(replay=means + self.memory["radius"] * noise, replay_labels=replay_labels)

    def finish(self) -> dict[str, Tensor]:
        """Drop the rotated classes, and add the new classes' means; after the first task, also the radius."""
        import torch

        from genifer.nn.stages import POOLED

        self.classifier.keep_classes(self.data.n_old + self.data.n_new)
        with torch.no_grad():
            pairs = [(self.classifier.features(x, POOLED).float(), y) for x, y in self.ordered_batches()]
        features, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        by_class = [features[labels == label] for label in labels.unique()]
        means = torch.stack([*self.memory.get("means", []), *(rows.mean(0) for rows in by_class)])
        if self.memory:
            return {"means": means, "radius": self.memory["radius"]}
        variances = torch.stack([rows.var(0, unbiased=False).mean() for rows in by_class])
        return {"means": means, "radius": variances.mean().sqrt()}
