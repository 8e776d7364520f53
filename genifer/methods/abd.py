"""Always Be Dreaming (Smith et al., 2021): replay inverted from the teacher, without a stored generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from genifer.methods.generative_replay import channels_last
from genifer.methods.inversion import InversionSettings, InvertedReplay
from genifer.methods.method import Batch
from genifer.settings import Weight

if TYPE_CHECKING:
    from torch import Tensor


class AbdSettings(InversionSettings):
    """Settings of the inversion, and of the classifier's training on inverted and new images."""

    feature_weight: Weight = Field(
        0.1, description="weight of the feature distillation, measured after the old classes' head"
    )
    balance_weight: Weight = Field(
        1.0, description="weight of the head's cross-entropy over all classes on detached features"
    )


class Abd(InvertedReplay):
    """Always be dreaming: at the start of a task, images of old classes are inverted from the teacher.

    Smith et al. (2021) train a generator whose images the teacher classifies confidently (section 3, with
    the losses of section 4 for confidence, diversity, batch statistics and smoothness). The classifier then
    minimises the cross-entropy among the new classes on new images, the distance of features on both kinds
    of images, weighted by the old head, and the cross-entropy of the head on both, with features detached
    (section 5). Omitted: the class weights of the last term; batches hold as many inverted as new images.
    `InvertedReplay` says how the inversion differs from the authors' code.
    """

    name = "abd"
    version = 1
    Settings = AbdSettings
    splits_batches = True
    settings: AbdSettings

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the local cross-entropy, the feature distillation and the head's balanced cross-entropy."""
        import torch
        import torch.nn.functional as F

        from genifer.nn.stages import POOLED

        assert batch.replay is not None
        settings, n_old = self.settings, self.data.n_old
        images = channels_last(torch.cat([batch.images, batch.replay]))
        features = self.classifier.features(images, POOLED)
        with torch.no_grad():
            old_features = self.teacher.features(images, POOLED)
            inverted_labels = self.teacher(old_features[len(batch.labels) :], start=POOLED).argmax(1)
        local = self.classifier(features[: len(batch.labels)], start=POOLED)[:, n_old:]
        cross_entropy = F.cross_entropy(local.float(), batch.labels - n_old)
        head = self.teacher.head.weight
        distance = F.linear(features - old_features, head).float().square().mean()
        logits = self.classifier(features.detach(), start=POOLED).float()
        balance = F.cross_entropy(logits, torch.cat([batch.labels, inverted_labels]))
        loss = cross_entropy + settings.feature_weight * distance + settings.balance_weight * balance
        return {
            "loss": loss,
            "cross_entropy": cross_entropy,
            "feature_distillation": distance,
            "balance": balance,
        }
