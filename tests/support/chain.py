"""The trainings of the tiny run, one after the other, each with settings of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from genifer.config import RunSettings
from genifer.run_file import parse_settings
from genifer.training import classifier as classifier_training
from genifer.training import gan as gan_training
from genifer.training.checkpoints import load_classifier
from genifer.training.job import Job
from support.commands import TINY, merged
from support.data_files import prepare
from support.device import DEVICE

CPU = torch.device("cpu")


def settings_with(**changes: Any) -> RunSettings:
    """The settings of the tiny run with changes."""
    return parse_settings(merged(TINY, changes), "test")


def job(name: str, task: int, folder: Path, **changes: Any) -> Job:
    return Job(name, 0, task, folder / f"{name}_{task}", DEVICE, "fp32", **changes)


class Chain:
    """The first classifier of the tiny run, and trainings that continue from it with other settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        prepare(folder, TINY["data"], TINY["scenario"])
        self.classifier = self.pretrain_classifier(settings_with(), folder)

    def data(self, task: int) -> Path:
        return self.folder / f"task_{task}_train.safetensors"

    def pretrain_classifier(self, settings: RunSettings, folder: Path) -> Path:
        first = job("pretrain_classifier", 0, folder)
        classifier_training.pretrain_classifier(
            first, settings.classifier, settings.pretrain_classifier, [self.data(0)]
        )
        return first.output / "classifier.safetensors"

    def pretrain_gan(self, settings: RunSettings, folder: Path) -> Path:
        first = job("pretrain_gan", 0, folder)
        networks = settings.generator, settings.discriminator
        gan_training.pretrain_gan(
            first, *networks, settings.gan, settings.pretrain_gan, [self.data(0)], self.classifier
        )
        return first.output / "gan.safetensors"

    def train(self, method: str, settings: RunSettings, folder: Path, old_gan: Path | None = None) -> Path:
        """Learn task 1 by a method."""
        later, of_run = job(f"train_{method}", 1, folder), settings.registry.method(method)
        block, data = settings.of_method(of_run), [self.data(1)]
        classifier_training.train_task(
            later, of_run, block, settings.classifier, data, self.classifier, old_gan
        )
        return later.output / "classifier.safetensors"

    def learn_first_task(self, method: str, settings: RunSettings, folder: Path) -> Path:
        """Leave a method's memory of task 0."""
        first, of_run = job(f"train_{method}", 0, folder), settings.registry.method(method)
        classifier_training.train_task(
            first,
            of_run,
            settings.of_method(of_run),
            settings.classifier,
            [self.data(0)],
            self.classifier,
            None,
        )
        return first.output / "classifier.safetensors"

    def train_gan(self, settings: RunSettings, folder: Path, classifier: Path, old_gan: Path) -> Path:
        later = job("train_gan", 1, folder)
        gan_training.train_gan(later, settings.gan, settings.train_gan, [self.data(1)], classifier, old_gan)
        return later.output / "gan.safetensors"

    def all(self, settings: RunSettings, folder: Path) -> tuple[Path, Path, Path]:
        """GAN of task 0, classifier and GAN of task 1."""
        old_gan = self.pretrain_gan(settings, folder)
        classifier = self.train("genifer", settings, folder, old_gan)
        return old_gan, classifier, self.train_gan(settings, folder, classifier, old_gan)

    def inputs(self, settings: RunSettings, folder: Path) -> dict[str, list[str | Path]]:
        """What each training command reads, as its arguments."""
        old_gan, classifier, _ = self.all(settings, folder)
        return {
            "pretrain-classifier": [self.data(0)],
            "train": ["genifer", "--old-classifier", self.classifier, "--old-gan", old_gan, self.data(1)],
            "pretrain-gan": ["--classifier", self.classifier, self.data(0)],
            "train-gan": ["--classifier", classifier, "--old-gan", old_gan, self.data(1)],
        }


def weights(path: Path) -> dict[str, Tensor]:
    """The parameters of a classifier."""
    return dict(load_classifier(path, CPU).network.named_parameters())


def metrics(checkpoint: Path) -> pd.DataFrame:
    """The metrics beside a checkpoint."""
    return pd.read_csv(checkpoint.parent / "metrics.csv")
