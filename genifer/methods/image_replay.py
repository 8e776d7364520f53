"""Conventional generative replay (Shin et al., 2017), with the same GAN as Genifer's, matched on images."""

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
    """Settings of the classifier's training from new images and replay."""

    new_weight: Fraction | Literal["adaptive"] = Field(
        "adaptive",
        description="weight of the new images' loss, the rest is the replay's; adaptive: new classes / "
        "classes so far",
    )


class ImageReplay(GenerativeReplay):
    """Conventional generative replay: the GAN is matched on images; the teacher labels its samples.

    Section 3 of Shin et al. (2017): the solver learns new images with their labels and replayed ones with
    those of the solver before; the generator learns new images and those of the generator before. Left out:
    their GAN; it is Genifer's, without what Genifer adds to match features.
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
        """Cross-entropy of new images with their labels, and of replay with the teacher's."""
        import torch
        import torch.nn.functional as F

        assert batch.replay is not None
        with torch.no_grad():
            targets = self.teacher(batch.replay).argmax(1)
        logits = self.classifier(torch.cat([batch.replay, batch.images])).float()
        n = len(targets)
        of_replay, of_images = F.cross_entropy(logits[:n], targets), F.cross_entropy(logits[n:], batch.labels)
        weight = share(self.settings.new_weight, self.data.n_new, self.data.n_old)
        loss = weight * of_images + (1 - weight) * of_replay
        return {"loss": loss, "cross_entropy": of_images, "replay": of_replay}

    def progress_loss(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the loss."""
        return losses["loss"]
