"""The next task: the classifier learns new classes from their images, old ones from replay.

Thandiackal et al. (2024): half of each batch are images of the new classes, half are
made by the old generator. On the replayed half the classifier before this task is a
teacher, for its outputs and for the features of one stage. A generator of the direct
mode makes features instead of images, which enter the classifier at their stage.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genifer.config import GeniferSettings
from genifer.data.batches import (
    Normalization,
    ShuffledBatches,
    TaskData,
    load_task_data,
    random_crop_and_flip,
)
from genifer.losses import divergence, feature_distillation, logit_distance, output_distillation
from genifer.nn.classifier import Classifier
from genifer.nn.generator import Generator
from genifer.training.checkpoints import load_classifier, load_gan, require_classes, save_classifier
from genifer.training.optimizers import make_optimizer
from genifer.training.resume import Part
from genifer.training.stage import Stage


def train_genifer(
    stage: Stage, settings: GeniferSettings, data_path: Path, old_classifier_path: Path, old_gan_path: Path
) -> None:
    """Grow the old classifier and train it on new and replayed images; writes ``classifier.safetensors``."""
    rng = stage.start()
    data = load_task_data([data_path], stage.device)
    gan = load_gan(old_gan_path, stage.device)
    generator = gan.generator.eval().requires_grad_(False)
    require_classes(old_gan_path, gan.n_classes_seen, data.n_old, f"task {data.task}")
    trained = load_classifier(old_classifier_path, stage.device)
    classifier, normalize = trained.network, trained.normalization
    require_classes(old_classifier_path, classifier.n_classes, data.n_old, f"task {data.task}")
    old_classifier = copy.deepcopy(classifier)
    classifier.grow(data.n_new)
    training = ReplayTraining(stage, settings, classifier, old_classifier, generator, data, normalize, rng)
    with stage.steps(settings.steps, training.parts) as steps:
        for step in steps:
            steps.record(step, training.step())
    save_classifier(stage.output / "classifier.safetensors", classifier, data.task, data.mean, data.std)
    steps.finish()


class ReplayTraining:
    """The training of a classifier on new and replayed images, step by step.

    Args:
        classifier: of all classes so far, new ones included.
        old_classifier: as it was before this task: the teacher.
        generator: of the task before, frozen.
    """

    def __init__(
        self,
        stage: Stage,
        settings: GeniferSettings,
        classifier: Classifier,
        old_classifier: Classifier,
        generator: Generator,
        data: TaskData,
        normalize: Normalization,
        rng: torch.Generator,
    ) -> None:
        classifier.freeze_stages(settings.frozen_stages)
        self.stage, self.settings, self.rng = stage, settings, rng
        self.n_old = data.n_old
        self.n_replayed = settings.replayed(data.n_old, data.n_new)
        self.classifier = classifier.train()
        # The teacher's batch norm sees the batch, as in the paper, unless it is frozen.
        self.old_classifier = old_classifier.requires_grad_(False).train(not settings.freeze_old_batch_norm)
        self.generator, self.normalize = generator, normalize
        self.optimizer, self.schedule = make_optimizer(
            settings.optimizer, classifier.parameters(), settings.steps
        )
        self.batches = ShuffledBatches(data, settings.batch_size - self.n_replayed, rng)
        self._replay, self._losses = stage.compiled(self.replay), stage.compiled(self.losses)
        self.parts: dict[str, Part] = {
            "classifier": classifier,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "batches": self.batches,
            "rng": rng,
        }

    def step(self) -> dict[str, Tensor]:
        """One step of the optimiser; returns its losses."""
        pixels, labels = next(self.batches)
        settings, rng, n_replayed = self.settings, self.rng, self.n_replayed
        asked = torch.randint(self.n_old, (n_replayed,), generator=rng, device=self.stage.device)
        z = torch.randn(n_replayed, self.generator.latent_dim, generator=rng, device=self.stage.device)
        replayed = self._replay(z, asked, self.generator.draw_noise(n_replayed, rng))
        real = self.normalize(pixels)
        if settings.augment_replay and self.generator.stage == 0:
            both = random_crop_and_flip(
                torch.cat([replayed, real]), settings.crop_padding, settings.horizontal_flip, rng
            )
            replayed, real = both[:n_replayed], both[n_replayed:]
        else:
            real = random_crop_and_flip(real, settings.crop_padding, settings.horizontal_flip, rng)
        losses = self._losses(replayed, real, labels)
        self.optimizer.zero_grad()
        losses.loss.backward()
        self.optimizer.step()
        self.schedule.step(
            settings.distillation_weight * losses.distillation
            + settings.feature_distillation_weight * losses.feature_distillation
        )
        return losses._asdict()

    def replay(self, z: Tensor, labels: Tensor, noise: list[Tensor]) -> Tensor:
        """What the old generator makes, as `replay` has it."""
        with self.stage.autocast():
            return replay(self.generator, z, labels, noise, self.normalize)

    def losses(self, replayed: Tensor, real: Tensor, labels: Tensor) -> NextTaskLosses:
        """The losses of one step, as `next_task_losses` has them."""
        with self.stage.autocast():
            return next_task_losses(
                self.classifier,
                self.old_classifier,
                replayed,
                real,
                labels,
                self.settings,
                self.generator.stage,
            )


@torch.no_grad()
def replay(
    generator: Generator, z: Tensor, labels: Tensor, noise: list[Tensor], normalize: Normalization
) -> Tensor:
    """Images (n, channels, size, size) of the classes asked for, clamped to valid pixels, or features."""
    made = generator(z, labels, noise).float()
    return normalize.clamp(made) if generator.stage == 0 else made


class NextTaskLosses(NamedTuple):
    loss: Tensor
    cross_entropy: Tensor
    distillation: Tensor
    feature_distillation: Tensor


def next_task_losses(
    classifier: Classifier,
    old_classifier: Classifier,
    replayed: Tensor,
    real: Tensor,
    labels: Tensor,
    settings: GeniferSettings,
    entry: int = 0,
) -> NextTaskLosses:
    """The loss of one step, and its parts before they are weighted.

    Args:
        replayed: (n, channels, size, size), images, or features of the stage ``entry``.
        real: (m, channels, size, size), images of the new classes.
        labels: (m,), of the real images.
        entry: stage at which the replayed samples enter the classifiers.
    """
    with torch.no_grad():
        old = _respond(old_classifier, replayed, real, settings, entry)
    new = _respond(classifier, replayed, real, settings, entry)

    temperature = settings.temperature
    match settings.output_distillation:
        case "KD":
            distillation = output_distillation(
                torch.cat([old.replayed_logits, old.real_logits]),
                torch.cat([new.replayed_logits, new.real_logits]),
                temperature,
            )
        case "KD_sep":
            distillation = output_distillation(old.replayed_logits, new.replayed_logits, temperature)
        case "KL":
            distillation = divergence(old.replayed_logits, new.replayed_logits, temperature)
        case "MSE_prev" | "L1" as distance:
            squared = distance == "MSE_prev"
            distillation = logit_distance(old.replayed_logits, new.replayed_logits, squared)

    if settings.output_distillation == "KD":
        # The old classifier labels the replayed images.
        logits = torch.cat([new.replayed_logits, new.real_logits])
        labels = torch.cat([old.replayed_logits.argmax(1), labels])
    else:
        logits = new.real_logits
    cross_entropy = F.cross_entropy(logits.float(), labels)

    if settings.feature_distillation_weight == 0:
        of_features = torch.zeros_like(cross_entropy)
    elif settings.feature_distillation == "replayed":
        of_features = feature_distillation(
            old.replayed_features, new.replayed_features, settings.feature_distillation_norm
        )
    else:
        of_features = feature_distillation(
            old.real_features, new.real_features, settings.feature_distillation_norm
        )
    loss = (
        settings.cross_entropy_weight * cross_entropy
        + settings.distillation_weight * distillation
        + settings.feature_distillation_weight * of_features
    )
    return NextTaskLosses(loss, cross_entropy, distillation, of_features)


class _Response(NamedTuple):
    """A classifier's features of the distilled stage, and its logits."""

    replayed_features: Tensor
    real_features: Tensor
    replayed_logits: Tensor
    real_logits: Tensor


def _respond(
    classifier: Classifier, replayed: Tensor, real: Tensor, settings: GeniferSettings, entry: int
) -> _Response:
    """Pass replayed and real samples through a classifier, together unless the settings say apart."""
    stage = settings.feature_distillation_stage
    n = len(replayed)
    if settings.feature_distillation == "new_apart":
        real_features, real_logits = classifier.features_and_logits(_channels_last(real), stage)
        later = max(stage, entry)
        with torch.no_grad():
            replayed_features = classifier.features(_channels_last(replayed), later, start=entry)
        return _Response(
            replayed_features, real_features, classifier(replayed_features, start=later), real_logits
        )
    if stage < entry:
        real_features = classifier.features(_channels_last(real), stage)
        joint = torch.cat([replayed, classifier.features(real_features, entry, start=stage)])
        logits = classifier(joint, start=entry)
        return _Response(replayed, real_features, logits[:n], logits[n:])
    joint = torch.cat([replayed, classifier.features(_channels_last(real), entry)])
    features, logits = classifier.features_and_logits(_channels_last(joint), stage, start=entry)
    return _Response(features[:n], features[n:], logits[:n], logits[n:])


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
