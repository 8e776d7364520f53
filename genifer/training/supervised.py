"""Training on real images alone: the first task's classifier, and the two bounds.

Finetuning on the new images only is the lower bound of continual learning, joint
training on all images so far the upper one. Both start from the classifier of the
task before, as genifer does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from genifer.config import ClassifierSettings, TrainingSettings
from genifer.data.batches import (
    Normalization,
    ShuffledBatches,
    TaskData,
    load_task_data,
    random_crop_and_flip,
)
from genifer.errors import GeniferError
from genifer.nn.classifier import Classifier
from genifer.training.checkpoints import load_classifier, require_classes, save_classifier
from genifer.training.optimizers import make_optimizer
from genifer.training.resume import Part
from genifer.training.stage import Stage

log = logging.getLogger(__name__)


def pretrain_classifier(
    stage: Stage, network: ClassifierSettings, settings: TrainingSettings, data_path: Path
) -> None:
    """Train a new classifier on the first task; writes ``classifier.safetensors``."""
    rng = stage.start()
    data = load_task_data([data_path], stage.device)
    classifier = Classifier(
        network.architecture, network.width, data.images.shape[1], data.n_new, network.readout_bias
    )
    if network.pretrained is not None:
        take_stages(classifier, network.pretrained, network.pretrained_stages)
    classifier.to(stage.device).to(memory_format=torch.channels_last)
    _fit(stage, settings, classifier, data, rng)


def take_stages(classifier: Classifier, path: Path, count: int) -> None:
    """Take the first stages of a trained classifier: 1 is the stem, 2 to 5 the groups."""
    trained = load_classifier(path, torch.device("cpu")).network
    try:
        classifier.stages[:count].load_state_dict(trained.stages[:count].state_dict())
    except RuntimeError as error:
        raise GeniferError(
            f"classifier.pretrained: {path}: the first {count} stages of its {trained.description} do not "
            f"fit {classifier.description}; take its classifier.architecture and classifier.width ({error})"
        ) from error


def train_on_images(
    stage: Stage, settings: TrainingSettings, data_paths: Sequence[Path], old_classifier_path: Path
) -> None:
    """Grow the old classifier by the last task's classes and train it on the given images.

    Given the last task's images this is finetuning, given those of all tasks so far it
    is the joint bound (the only training that opens files of other tasks).
    """
    rng = stage.start()
    if len(data_paths) > 1:
        log.info("[%s] the joint bound: trains on the images of all tasks so far", stage.title)
    data = load_task_data(data_paths, stage.device)
    classifier = load_classifier(old_classifier_path, stage.device).network
    require_classes(old_classifier_path, classifier.n_classes, data.n_old, f"task {data.task}")
    classifier.grow(data.n_new)
    _fit(stage, settings, classifier, data, rng)


def _fit(
    stage: Stage, settings: TrainingSettings, classifier: Classifier, data: TaskData, rng: torch.Generator
) -> None:
    training = ImageTraining(stage, settings, classifier, data, rng)
    with stage.steps(settings.steps, training.parts) as steps:
        for step in steps:
            steps.record(step, training.step())
    save_classifier(stage.output / "classifier.safetensors", classifier, data.task, data.mean, data.std)
    steps.finish()


class ImageTraining:
    """The training of a classifier on a task's images, step by step."""

    def __init__(
        self,
        stage: Stage,
        settings: TrainingSettings,
        classifier: Classifier,
        data: TaskData,
        rng: torch.Generator,
    ) -> None:
        classifier.freeze_stages(settings.frozen_stages)
        self.stage, self.settings, self.rng = stage, settings, rng
        self.classifier = classifier.train()
        self.normalize = Normalization(data.mean, data.std).to(stage.device)
        self.optimizer, self.schedule = make_optimizer(
            settings.optimizer, classifier.parameters(), settings.steps
        )
        self.batches = ShuffledBatches(data, settings.batch_size, rng)
        self._losses = stage.compiled(self.losses)
        self.parts: dict[str, Part] = {
            "classifier": classifier,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "batches": self.batches,
            "rng": rng,
        }

    def step(self) -> dict[str, Tensor]:
        """One step of the optimiser; returns its scalars."""
        pixels, labels = next(self.batches)
        settings = self.settings
        images = random_crop_and_flip(
            self.normalize(pixels), settings.crop_padding, settings.horizontal_flip, self.rng
        )
        loss, accuracy = self._losses(images, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step(loss)
        return {"loss": loss, "accuracy": accuracy}

    def losses(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and accuracy on a batch."""
        with self.stage.autocast():
            logits = self.classifier(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels)
        return loss, (logits.argmax(1) == labels).float().mean()
