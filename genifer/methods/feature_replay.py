"""Feature replay (Xiang et al., 2019; Liu et al., 2020): the generator produces pooled features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from genifer.methods.generative_replay import GenerativeReplay, ReplaySettings
from genifer.methods.method import Batch
from genifer.settings import Weight

if TYPE_CHECKING:
    from torch import Tensor


class FeatureReplaySettings(ReplaySettings):
    """Settings of the classifier's training on new images and replayed features."""

    feature_distillation_weight: Weight = Field(
        1.0, description="weight of the distance to the teacher's pooled features on new images"
    )


class FeatureReplay(GenerativeReplay):
    """Generative feature replay: the GAN generates pooled features; those of new images are distilled.

    Section 3 of Liu et al. (2020): the head's cross-entropy on features of new images and on replayed
    features, plus the distance between the extractor's and the teacher's features on new images. Xiang et al.
    (2019) proposed the replay of generated features before. Replaced: the Wasserstein GAN of fully connected
    layers of Liu et al., by Genifer's GAN in direct mode at the pooled features.
    """

    name = "feature_replay"
    version = 1
    Settings = FeatureReplaySettings
    splits_batches = True
    blocks: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "generator": {"channels": None},
        "gan": {"matching_mode": "direct", "matching_stage": 6, "ada": {"mode": "none"}},
        "train_gan": {"distillation_stage": 6},
    }
    settings: FeatureReplaySettings

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy on new and replayed features, and the distillation on new images."""
        import torch
        import torch.nn.functional as F

        from genifer.nn.losses import accuracy, feature_distillation
        from genifer.nn.stages import POOLED

        assert batch.replay is not None
        assert batch.replay_labels is not None
        features = self.classifier.features(batch.images, POOLED)
        with torch.no_grad():
            old_features = self.teacher.features(batch.images, POOLED)
        logits = self.classifier(torch.cat([batch.replay.to(features.dtype), features]), start=POOLED)
        labels = torch.cat([batch.replay_labels, batch.labels])
        cross_entropy = F.cross_entropy(logits.float(), labels)
        distance = feature_distillation(old_features, features, "L2")
        loss = cross_entropy + self.settings.feature_distillation_weight * distance
        return {
            "loss": loss,
            "accuracy": accuracy(logits, labels),
            "cross_entropy": cross_entropy,
            "feature_distillation": distance,
        }

    def progress_loss(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the total loss."""
        return losses["loss"]
