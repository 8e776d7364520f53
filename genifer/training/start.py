"""Checkpoints from elsewhere that replace a run's first trainings."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from genifer.config import RunSettings, StartSettings
from genifer.data.batches import TaskData, load_task_data
from genifer.errors import GeniferError
from genifer.runtime.files import atomic_write
from genifer.settings import GanSettings
from genifer.training.checkpoints import load_classifier, load_gan, require_classes, require_matching

CPU = torch.device("cpu")


def use_checkpoint(
    run: RunSettings, classifier: Path | None, gan: Path | None, data_path: Path, output: Path
) -> None:
    """Copy a checkpoint, either of a classifier or of a GAN, if it fits the run.

    Raises:
        GeniferError: the checkpoint does not fit, or neither or both are given.
    """
    if (classifier is None) == (gan is None):
        raise GeniferError("give one of --classifier and --gan")
    if classifier is not None:
        use_classifier(run.start, classifier, data_path, output)
    elif gan is not None:
        use_gan(run.start, run.gan, gan, data_path, output)


def use_classifier(start: StartSettings, checkpoint: Path, data_path: Path, output: Path) -> None:
    """Copy a classifier that has learned the tasks up to ``start.task``, if it fits the run's data."""
    data = load_task_data([data_path], CPU)
    trained = load_classifier(checkpoint, CPU)
    _require(checkpoint, start, data, trained.network.n_classes)
    channels = trained.network.description["in_channels"]
    if channels != data.images.shape[1]:
        raise GeniferError(
            f"start.classifier: {checkpoint} expects images with data.channels: {channels}, but the data "
            f"have {data.images.shape[1]}; set data.channels: {channels}"
        )
    for name in ("mean", "std"):
        theirs = getattr(trained.normalization, name).flatten()
        if not torch.allclose(theirs, torch.tensor(getattr(data, name))):
            values = [round(float(value), 6) for value in theirs]
            raise GeniferError(
                f"start.classifier: {checkpoint} was trained with data.{name}: {values}, but the run has "
                f"{list(getattr(data, name))}; set data.{name}: {values}"
            )
    _copy(checkpoint, output)


def use_gan(
    start: StartSettings, settings: GanSettings, checkpoint: Path, data_path: Path, output: Path
) -> None:
    """Copy a GAN that has learned the tasks up to ``start.task``, if it fits the run's data and settings."""
    data = load_task_data([data_path], CPU)
    gan = load_gan(checkpoint, CPU)
    _require(checkpoint, start, data, gan.n_classes_seen)
    require_matching(checkpoint, gan, settings)
    description = gan.generator.description
    if description["n_classes"] != data.n_classes:
        raise GeniferError(
            f"start.gan: {checkpoint} was made for {description['n_classes']} classes in total, but the run "
            f"has {data.n_classes}; change scenario.tasks, or set start.gan: null to train a GAN"
        )
    made = (description["out_channels"], description["side"])
    if gan.generator.stage == 0 and made != (data.images.shape[1], data.images.shape[-1]):
        raise GeniferError(
            f"start.gan: {checkpoint} generates images of {made[0]} channels and {made[1]} pixels, but the "
            f"data have {data.images.shape[1]} and {data.images.shape[-1]}; set data.channels: {made[0]} and "
            f"data.image_size: {made[1]}"
        )
    _copy(checkpoint, output)


def _require(checkpoint: Path, start: StartSettings, data: TaskData, found: int) -> None:
    needed = sum(data.tasks[: start.task + 1])
    require_classes(checkpoint, found, needed, f"start.task: {start.task}")


def _copy(checkpoint: Path, output: Path) -> None:
    with atomic_write(output) as temporary:
        shutil.copyfile(checkpoint, temporary)
