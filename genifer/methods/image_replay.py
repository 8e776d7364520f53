"""Conventional generative replay (Shin et al., 2017), with Genifer's GAN matched on images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from genifer.methods.generative_replay import GenerativeReplay, ReplaySettings, share
from genifer.methods.method import Batch
from genifer.settings import Fraction

if TYPE_CHECKING:
    from torch import Tensor


class ImageReplaySettings(ReplaySettings):
    """Settings of the classifier's training on new images and replay."""

    new_weight: Fraction | Literal["adaptive"] = Field(
        "adaptive",
        description="weight of the loss on new images, between 0 and 1; replay has the rest; adaptive: new "
        "classes / classes so far",
    )


class ImageReplay(GenerativeReplay):
    """Conventional generative replay: the GAN matches images; the teacher labels its samples.

    Section 3 of Shin et al. (2017): the solver learns new images with their labels, and replayed images with
    the previous solver's labels; the generator learns new images and the previous generator's images.
    Replaced: their GAN, by Genifer's GAN without its feature matching.
    """

    name = "image_replay"
    version = 1
    Settings = ImageReplaySettings
    splits_batches = True
    blocks: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "gan": {
            "matching_mode": "indirect",
            "matching_stage": 0,
            "guidance_weight": 0,
            "feature_means_weight": 0,
        },
        "train_gan": {"distillation_weight": 0},
    }
    settings: ImageReplaySettings

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy of new images with their labels, and of replay with the teacher's."""
        import torch
        import torch.nn.functional as F

        from genifer.nn.losses import accuracy

        assert batch.replay is not None
        with torch.no_grad():
            targets = self.teacher(batch.replay).argmax(1)
        logits = self.classifier(torch.cat([batch.replay, batch.images])).float()
        n = len(targets)
        replay_loss = F.cross_entropy(logits[:n], targets)
        image_loss = F.cross_entropy(logits[n:], batch.labels)
        weight = share(self.settings.new_weight, self.data.n_new, self.data.n_old)
        loss = weight * image_loss + (1 - weight) * replay_loss
        correct = accuracy(logits, torch.cat([targets, batch.labels]))
        return {"loss": loss, "accuracy": correct, "cross_entropy": image_loss, "replay": replay_loss}

    def progress_loss(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the total loss."""
        return losses["loss"]
