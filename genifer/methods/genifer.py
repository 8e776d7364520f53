"""Genifer: feature-driven generative replay (Thandiackal et al., 2024).

Part of each batch is images of the new classes; the previous task's generator makes the rest
(`GenerativeReplay.draw_batch`). The previous task's classifier is the teacher on the replay, both for its
outputs and for the features of one stage. In direct mode the generator produces features, which enter the
classifier at their stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from genifer.methods.generative_replay import GenerativeReplay, ReplaySettings, channels_last, share
from genifer.methods.method import Batch
from genifer.settings import PositiveFloat, StageOfClassifier, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from genifer.config import RunSettings
    from genifer.nn.classifier import Classifier


class GeniferSettings(ReplaySettings):
    """Settings of Genifer's losses."""

    cross_entropy_weight: Weight | Literal["adaptive"] = Field(
        0.02, description="weight of the cross-entropy; adaptive: new classes / classes so far"
    )
    cross_entropy_classes: Literal["all", "new"] = Field(
        "all",
        description="classes in the softmax of the cross-entropy on real images; new: the task's own, so "
        "that it does not lower the outputs of old classes",
    )
    output_distillation: Literal["KD", "KD_sep", "KL", "MSE_prev", "L1"] = Field(
        "KD_sep",
        description="KD_sep: softmax cross-entropy with the teacher's outputs on replay and with the labels "
        "on real images; KD: both on all images; KL, MSE_prev, L1: like KD_sep, with that distance between "
        "outputs",
    )
    distillation_weight: Weight | Literal["adaptive"] = Field(
        0.98, description="weight of the output distillation; adaptive: old classes / classes so far"
    )
    temperature: PositiveFloat = Field(1.0, description="temperature of KD, KD_sep and KL")
    feature_distillation: Literal["replayed", "new", "new_apart"] = Field(
        "replayed",
        description="samples whose features are compared with the teacher's: replayed or new; new_apart: "
        "new, with a separate forward pass for replay, whose gradient stops at the compared stage",
    )
    feature_distillation_norm: Literal["L1", "L2"] = Field(
        "L2", description="norm of the difference between a sample's features"
    )
    feature_distillation_weight: Weight = Field(
        1.0, description="weight of the distance to the teacher's features"
    )
    feature_distillation_stage: StageOfClassifier = Field(
        4, description="stage of the compared features; 0 is the image, 6 the pooled features"
    )
    freeze_old_batch_norm: bool = Field(
        False, description="the teacher normalises by its running statistics instead of the batch's"
    )


class Genifer(GenerativeReplay):
    """New images plus replay of the old classes from a GAN that matches the classifier's features."""

    name = "genifer"
    version = 3
    Settings = GeniferSettings
    splits_batches = True
    settings: GeniferSettings

    @classmethod
    def check(cls, settings: Any, run: RunSettings) -> None:
        """Reject batches without room for replay, and features that cannot be compared."""
        super().check(settings, run)
        entry, stage = run.gan.generated_stage, settings.feature_distillation_stage
        compared = settings.feature_distillation_weight > 0 and settings.feature_distillation == "replayed"
        if entry and compared and stage <= entry:
            raise ValueError(
                f"genifer.feature_distillation_stage: {stage} has no replayed features to compare, because "
                f"replay enters the classifier at stage {entry} (gan.matching_mode: direct); set a later "
                "stage, or genifer.feature_distillation: new or new_apart, or "
                "genifer.feature_distillation_weight: 0"
            )

    def setup(self) -> None:
        """Let the teacher's batch norm use the batch's statistics, as in the paper, unless it is frozen."""
        super().setup()
        self.teacher.train(not self.settings.freeze_old_batch_norm)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy, output distillation and feature distillation (paper, section 3.3)."""
        assert batch.replay is not None
        return replay_losses(
            self.classifier,
            self.teacher,
            batch.replay,
            batch.images,
            batch.labels,
            self.settings,
            self.generator.stage,
        )

    def progress_loss(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted distillation terms, as the published code does."""
        weight = share(self.settings.distillation_weight, self.data.n_old, self.data.n_new)
        return (
            weight * losses["distillation"]
            + self.settings.feature_distillation_weight * losses["feature_distillation"]
        )


def replay_losses(
    classifier: Classifier,
    teacher: Classifier,
    replay: Tensor,
    images: Tensor,
    labels: Tensor,
    settings: GeniferSettings,
    entry: int = 0,
) -> dict[str, Tensor]:
    """Compute the loss of one step, and its unweighted terms.

    Args:
        replay: (n, channels, size, size): images, or features of stage ``entry``.
        images: (m, channels, size, size): images of the new classes.
        labels: (m,): the images' labels.
        entry: stage at which the replay enters both classifiers.

    Returns:
        The scalars loss, accuracy (on the samples of the cross-entropy), cross_entropy, distillation and
        feature_distillation.
    """
    import torch
    import torch.nn.functional as F

    from genifer.nn.losses import (
        accuracy,
        divergence,
        feature_distillation,
        logit_distance,
        output_distillation,
    )

    with torch.no_grad():
        old = _respond(teacher, replay, images, settings, entry)
    new = _respond(classifier, replay, images, settings, entry)

    temperature = settings.temperature
    match settings.output_distillation:
        case "KD":
            distillation = output_distillation(
                torch.cat([old.replay_logits, old.image_logits]),
                torch.cat([new.replay_logits, new.image_logits]),
                temperature,
            )
        case "KD_sep":
            distillation = output_distillation(old.replay_logits, new.replay_logits, temperature)
        case "KL":
            distillation = divergence(old.replay_logits, new.replay_logits, temperature)
        case "MSE_prev" | "L1" as distance:
            squared = distance == "MSE_prev"
            distillation = logit_distance(old.replay_logits, new.replay_logits, squared)

    logits, n_old = new.image_logits, old.image_logits.shape[1]
    n_new = logits.shape[1] - n_old
    if settings.cross_entropy_classes == "new":
        logits, labels = logits[:, n_old:], labels - n_old
    elif settings.output_distillation == "KD":
        # Replay has no true labels, so the teacher's predictions stand in for them.
        logits = torch.cat([new.replay_logits, logits])
        labels = torch.cat([old.replay_logits.argmax(1), labels])
    cross_entropy = F.cross_entropy(logits.float(), labels)

    if settings.feature_distillation_weight == 0:
        feature_loss = torch.zeros_like(cross_entropy)
    elif settings.feature_distillation == "replayed":
        feature_loss = feature_distillation(
            old.replay_features, new.replay_features, settings.feature_distillation_norm
        )
    else:
        feature_loss = feature_distillation(
            old.image_features, new.image_features, settings.feature_distillation_norm
        )
    loss = (
        share(settings.cross_entropy_weight, n_new, n_old) * cross_entropy
        + share(settings.distillation_weight, n_old, n_new) * distillation
        + settings.feature_distillation_weight * feature_loss
    )
    return {
        "loss": loss,
        "accuracy": accuracy(logits, labels),
        "cross_entropy": cross_entropy,
        "distillation": distillation,
        "feature_distillation": feature_loss,
    }


class _Response(NamedTuple):
    """A classifier's features of the compared stage, and its logits."""

    replay_features: Tensor
    image_features: Tensor
    replay_logits: Tensor
    image_logits: Tensor


def _respond(
    classifier: Classifier, replay: Tensor, images: Tensor, settings: GeniferSettings, entry: int
) -> _Response:
    """Pass replay and images through a classifier: in one batch, except with ``new_apart``."""
    import torch

    stage = settings.feature_distillation_stage
    n = len(replay)
    if settings.feature_distillation == "new_apart":
        image_features, image_logits = classifier.features_and_logits(channels_last(images), stage)
        later = max(stage, entry)
        with torch.no_grad():
            replay_features = classifier.features(channels_last(replay), later, start=entry)
        return _Response(
            replay_features, image_features, classifier(replay_features, start=later), image_logits
        )
    if stage < entry:
        image_features = classifier.features(channels_last(images), stage)
        joint = torch.cat([replay, classifier.features(image_features, entry, start=stage)])
        logits = classifier(joint, start=entry)
        return _Response(replay, image_features, logits[:n], logits[n:])
    joint = torch.cat([replay, classifier.features(channels_last(images), entry)])
    features, logits = classifier.features_and_logits(channels_last(joint), stage, start=entry)
    return _Response(features[:n], features[n:], logits[:n], logits[n:])
