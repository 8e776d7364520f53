"""Checks before a run starts: data at hand, a device, and on a CPU the time that it will take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from genifer.config import RunSettings
from genifer.data.batches import Normalization, TaskData
from genifer.data.sources import class_folders
from genifer.errors import GeniferError
from genifer.nn.classifier import Classifier
from genifer.runtime.device import pick_device
from genifer.scenario import build_scenario
from genifer.training.gan import GanStep, gan_batches, gan_data, new_gan
from genifer.training.stage import Stage

log = logging.getLogger(__name__)

TIMED_IMAGES = 16
"""Images in a timed step; the time of a whole batch is taken to be in proportion."""


def preflight(settings: RunSettings, device_name: str) -> None:
    """Raise a `GeniferError` if something would stop the run, or if a CPU is no place for it."""
    _check_data(settings)
    device = pick_device(device_name)
    if device.type == "cpu" and device_name == "auto":
        hours = cpu_hours(settings)
        log.info(
            "run %s: about %s of training on this CPU (no GPU was found)", settings.run, _duration(hours)
        )
        if hours > settings.runtime.max_cpu_hours:
            raise GeniferError(
                f"run '{settings.run}' would take about {_duration(hours)} on this machine: PyTorch finds no "
                "GPU here. Run it on a machine with one (config/quickstart.yaml is a run for a CPU), or "
                f"insist: set runtime.device: cpu (with snakemake: --config 'runtime={{device: cpu}}'), or "
                f"runtime.max_cpu_hours above {hours:.0f}"
            )
    else:
        log.info(
            "run %s: on %s",
            settings.run,
            torch.cuda.get_device_name() if device.type == "cuda" else "the CPU",
        )


def _check_data(settings: RunSettings) -> None:
    given = {
        "start.classifier": settings.start.classifier,
        "start.gan": settings.start.gan,
        "classifier.pretrained": settings.classifier.pretrained,
    }
    for name, checkpoint in given.items():
        if checkpoint is not None and not checkpoint.is_file():
            raise GeniferError(
                f"{name}: {checkpoint} does not exist; give the path of a checkpoint, seen from {Path.cwd()}"
            )
    archive = settings.data.archive
    if archive is None:
        return
    if not archive.exists():
        raise GeniferError(
            f"data.archive: {archive} does not exist; give the path of the data, seen from {Path.cwd()}"
        )
    if archive.is_dir():
        if settings.data.dataset != "image_folder":
            raise GeniferError(
                f"data.archive: {archive} is a folder; data.dataset: {settings.data.dataset} needs an archive"
            )
        build_scenario(settings.scenario, class_folders(archive)[1])


def cpu_hours(settings: RunSettings) -> float:
    """Hours of training of the whole run on this CPU, from a few timed steps of its own networks."""
    stage = Stage("check", 0, 0, Path(), torch.device("cpu"), settings.runtime.precision)
    rng = stage.start()
    size, channels, tasks = settings.data.image_size, settings.data.channels, settings.scenario.tasks
    network = settings.classifier
    classifier = Classifier(network.architecture, network.width, channels, sum(tasks))
    images = torch.randn(TIMED_IMAGES, channels, size, size)

    def classifier_step() -> None:
        F.cross_entropy(classifier(images), torch.zeros(TIMED_IMAGES, dtype=torch.int64)).backward()

    of_classifier = _seconds(classifier_step) / TIMED_IMAGES
    later = len(tasks) - 1 - settings.start.task
    image_passes = 0
    if settings.start.classifier is None:
        image_passes = settings.pretrain_classifier.steps * settings.pretrain_classifier.batch_size
    for name, method in (("finetune", settings.finetune), ("joint", settings.joint)):
        if name in settings.methods:
            image_passes += method.steps * method.batch_size * later
    seconds = image_passes * of_classifier
    if "genifer" in settings.methods and later:
        of_gan = _seconds(_gan_step(settings, classifier, stage, rng)) / TIMED_IMAGES
        gan_steps = settings.train_gan.steps * (later - 1)
        if settings.start.gan is None:
            gan_steps += settings.pretrain_gan.steps
        seconds += gan_steps * settings.gan.batch_size * of_gan
        # The teacher's forward pass adds a third to a step.
        seconds += settings.genifer.steps * settings.genifer.batch_size * later * of_classifier * 4 / 3
    return len(settings.seeds) * seconds / 3600


def _gan_step(
    settings: RunSettings, classifier: Classifier, stage: Stage, rng: torch.Generator
) -> Callable[[], None]:
    size, channels = settings.data.image_size, settings.data.channels
    n_classes = sum(settings.scenario.tasks)
    timed = settings.gan.model_copy(update={"batch_size": TIMED_IMAGES})
    generator, discriminator = new_gan(
        timed,
        settings.generator,
        settings.discriminator,
        classifier,
        n_classes,
        torch.empty(1, channels, size, size),
    )
    gan = GanStep(timed, generator, discriminator, classifier, stage, settings.gan.ada.probability)
    data = TaskData(
        torch.zeros(TIMED_IMAGES, channels, size, size, dtype=torch.uint8),
        torch.zeros(TIMED_IMAGES, dtype=torch.int64),
        (n_classes,),
        0,
        (0.5,) * channels,
        (0.5,) * channels,
        (),
    )
    batches = gan_batches(gan, gan_data(gan, data, rng), Normalization(data.mean, data.std))

    def step() -> None:
        batch = next(batches)
        gan.discriminator_step(batch, 1)
        gan.generator_step(batch)

    return step


def _seconds(step: Callable[[], None]) -> float:
    """Time of a step after one to warm up."""
    step()
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{max(60 * hours, 1):.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"
