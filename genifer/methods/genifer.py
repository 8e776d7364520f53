"""Genifer: new classes from their images, old ones from replay (Thandiackal et al., 2024).

A part of each batch are images of the new classes, the rest is made by the generator of the task before. On
the replay the classifier of the task before is the teacher, for its outputs and for the features of one
stage. In the direct mode the generator makes features, which enter the classifier at their stage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field

from genifer.methods.method import Batch, Method
from genifer.settings import PositiveFloat, PositiveInt, StageOfClassifier, TrainingSettings, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from genifer.config import RunSettings
    from genifer.nn.classifier import Classifier


class GeniferSettings(TrainingSettings):
    """Settings of the classifier's training from new images and replay."""

    replay_fraction: Annotated[float, Field(gt=0, lt=1)] | Literal["adaptive"] = Field(
        0.5, description="share of replay in a batch; adaptive: old classes / classes so far"
    )
    augment_replay: bool = Field(True, description="crop and mirror replay as real images are")
    replay_candidates: PositiveInt = Field(
        1,
        description="samples generated for each one that is replayed: the one which the teacher takes most "
        "surely for the class asked for",
    )
    cross_entropy_weight: Weight | Literal["adaptive"] = Field(
        0.02, description="weight of the cross-entropy; adaptive: new classes / classes so far"
    )
    cross_entropy_classes: Literal["all", "new"] = Field(
        "all",
        description="classes in the softmax of the cross-entropy on real images; new: the task's own, so "
        "that it does not lower the outputs of the old ones",
    )
    output_distillation: Literal["KD", "KD_sep", "KL", "MSE_prev", "L1"] = Field(
        "KD_sep",
        description="KD_sep: softmax cross-entropy with the teacher's outputs on replay and with the labels "
        "on real images; KD: both on all images; KL, MSE_prev, L1: as KD_sep with that distance of outputs",
    )
    distillation_weight: Weight | Literal["adaptive"] = Field(
        0.98, description="weight of the output distillation; adaptive: old classes / classes so far"
    )
    temperature: PositiveFloat = Field(1.0, description="temperature of KD, KD_sep and KL")
    feature_distillation: Literal["replayed", "new", "new_apart"] = Field(
        "replayed",
        description="samples whose features are compared with the teacher's: replayed or new; new_apart: "
        "new, with a separate pass for replay whose gradient does not reach the stages up to the compared "
        "one",
    )
    feature_distillation_norm: Literal["L1", "L2"] = Field(
        "L2", description="norm of the difference of a sample's features"
    )
    feature_distillation_weight: Weight = Field(
        1.0, description="weight of the distance to the teacher's features"
    )
    feature_distillation_stage: StageOfClassifier = Field(
        4, description="stage of these features; 0 is the image, 6 the pooled features"
    )
    freeze_old_batch_norm: bool = Field(
        False, description="the teacher normalises with its running statistics, not the batch's"
    )

    def replay_per_batch(self, n_old: int, n_new: int) -> int:
        """Samples of replay in a batch.

        Raises:
            ValueError: no room is left for replay or for real images.
        """
        share = _share(self.replay_fraction, n_old, n_new)
        count = int(share * self.batch_size)
        if not 0 < count < self.batch_size:
            raise ValueError(
                f"genifer.replay_fraction: {self.replay_fraction} of genifer.batch_size: {self.batch_size} "
                f"leaves no room for both replay and real images ({n_old} old and {n_new} new classes)"
            )
        return count


def _share(setting: float | Literal["adaptive"], part: int, rest: int) -> float:
    """Value of a setting that may follow the number of classes, as the weights of Wu et al. (2019) do."""
    return part / (part + rest) if setting == "adaptive" else setting


class Genifer(Method):
    """New images, and replay of the old classes from a GAN that matches the classifier's features."""

    name = "genifer"
    version = 3
    Settings = GeniferSettings
    uses_gan = True
    uses_teacher = True
    settings: GeniferSettings
    _replay: Callable[[Tensor, Tensor, list[Tensor]], Tensor]

    @classmethod
    def check(cls, settings: Any, run: RunSettings) -> None:
        """Refuse batches without room for replay, and features that cannot be compared."""
        tasks = run.scenario.tasks
        for task in range(1, len(tasks)):
            settings.replay_per_batch(sum(tasks[:task]), tasks[task])
        entry, stage = run.gan.generated_stage, settings.feature_distillation_stage
        compared = settings.feature_distillation_weight > 0 and settings.feature_distillation == "replayed"
        if entry and compared and stage <= entry:
            raise ValueError(
                f"genifer.feature_distillation_stage: {stage} cannot be compared on replayed features that "
                f"enter the classifier at stage {entry} (gan.matching_mode: direct): take a later stage, or "
                "genifer.feature_distillation: new or new_apart, or genifer.feature_distillation_weight: 0"
            )

    def setup(self) -> None:
        """As in the paper, the teacher's batch norm sees the batch, unless it is frozen."""
        self.teacher.train(not self.settings.freeze_old_batch_norm)
        self._replay = self.job.compiled(self.replay)

    @property
    def n_replay(self) -> int:
        """Samples of replay in a batch."""
        return self.settings.replay_per_batch(self.data.n_old, self.data.n_new)

    def images_per_batch(self) -> int:
        """Real images in a batch: what the replay leaves."""
        return self.settings.batch_size - self.n_replay

    def draw_batch(self) -> Batch:
        """Draw real images and generate replay of random old classes."""
        import torch

        pixels, labels = next(self.batches)
        n, candidates, device, rng = self.n_replay, self.settings.replay_candidates, self.job.device, self.rng
        asked = torch.randint(self.data.n_old, (n,), generator=rng, device=device).repeat(candidates)
        z = torch.randn(len(asked), self.generator.latent_dim, generator=rng, device=device)
        replay = self._replay(z, asked, self.generator.draw_noise(len(asked), rng))
        if candidates > 1:
            replay = self.surest(replay, asked)
        images = self.normalize(pixels)
        if self.settings.augment_replay and self.generator.stage == 0:
            both = self.augment(torch.cat([replay, images]))
            return Batch(both[n:], labels, both[:n], asked[:n])
        return Batch(self.augment(images), labels, replay, asked[:n])

    def replay(self, z: Tensor, labels: Tensor, noise: list[Tensor]) -> Tensor:
        """Generate replay under autocast."""
        from genifer.training.replay import generate_replay

        with self.job.autocast():
            return generate_replay(self.generator, z, labels, noise, self.normalize)

    def surest(self, replay: Tensor, asked: Tensor) -> Tensor:
        """Of each sample's candidates keep the one with the highest probability of its class.

        Rejection by a classifier's confidence; compare Azadi et al. (2019), who reject by the discriminator.

        Args:
            replay: (candidates * n, ...), the first candidates of all samples, then the second ones, ...
            asked: (candidates * n,), the classes asked for.

        Returns:
            (n, ...).
        """
        import torch
        import torch.nn.functional as F

        with torch.no_grad(), self.job.autocast():
            logits = self.teacher(_channels_last(replay), start=self.generator.stage)
        n = self.n_replay
        loss = F.cross_entropy(logits.float(), asked, reduction="none").view(-1, n)
        return replay.view(-1, n, *replay.shape[1:])[loss.argmin(0), torch.arange(n, device=loss.device)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy on new images, output and feature distillation (section 3.3 of the paper)."""
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
        weight = _share(self.settings.distillation_weight, self.data.n_old, self.data.n_new)
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
    """The loss of one step, and its parts before they are weighted.

    Args:
        replay: (n, channels, size, size), images, or features of the stage ``entry``.
        images: (m, channels, size, size), of the new classes.
        labels: (m,), of the images.
        entry: stage at which the replay enters the classifiers.

    Returns:
        loss, cross_entropy, distillation, feature_distillation.
    """
    import torch
    import torch.nn.functional as F

    from genifer.nn.losses import divergence, feature_distillation, logit_distance, output_distillation

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
        # The teacher labels the replay.
        logits = torch.cat([new.replay_logits, logits])
        labels = torch.cat([old.replay_logits.argmax(1), labels])
    cross_entropy = F.cross_entropy(logits.float(), labels)

    if settings.feature_distillation_weight == 0:
        of_features = torch.zeros_like(cross_entropy)
    elif settings.feature_distillation == "replayed":
        of_features = feature_distillation(
            old.replay_features, new.replay_features, settings.feature_distillation_norm
        )
    else:
        of_features = feature_distillation(
            old.image_features, new.image_features, settings.feature_distillation_norm
        )
    loss = (
        _share(settings.cross_entropy_weight, n_new, n_old) * cross_entropy
        + _share(settings.distillation_weight, n_old, n_new) * distillation
        + settings.feature_distillation_weight * of_features
    )
    return {
        "loss": loss,
        "cross_entropy": cross_entropy,
        "distillation": distillation,
        "feature_distillation": of_features,
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
    """Pass replay and images through a classifier, together unless the settings say apart."""
    import torch

    stage = settings.feature_distillation_stage
    n = len(replay)
    if settings.feature_distillation == "new_apart":
        image_features, image_logits = classifier.features_and_logits(_channels_last(images), stage)
        later = max(stage, entry)
        with torch.no_grad():
            replay_features = classifier.features(_channels_last(replay), later, start=entry)
        return _Response(
            replay_features, image_features, classifier(replay_features, start=later), image_logits
        )
    if stage < entry:
        image_features = classifier.features(_channels_last(images), stage)
        joint = torch.cat([replay, classifier.features(image_features, entry, start=stage)])
        logits = classifier(joint, start=entry)
        return _Response(replay, image_features, logits[:n], logits[n:])
    joint = torch.cat([replay, classifier.features(_channels_last(images), entry)])
    features, logits = classifier.features_and_logits(_channels_last(joint), stage, start=entry)
    return _Response(features[:n], features[n:], logits[:n], logits[n:])


def _channels_last(x: Tensor) -> Tensor:
    import torch

    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
