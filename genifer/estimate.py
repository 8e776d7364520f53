"""What a run will take, before it starts: hours from a few timed steps, bytes from the networks' sizes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from genifer.config import RunSettings
from genifer.data.batches import Normalization
from genifer.runtime.device import pick_precision
from genifer.training.gan import gan_batches, gan_data, new_gan
from genifer.training.resume import KEPT
from genifer.training.stage import Stage
from genifer.untrained import new_classifier, new_gan_step

IMAGES_IN = {"cifar100": 60_000, "digits": 1_797}

TIMED_SECONDS = 1.0
"""Steps are repeated for so long, but at least one and at most `MOST_STEPS`, after one to warm up."""
MOST_STEPS = 10

JOB_SECONDS = 4.0
"""Start of a job, and its evaluation or plot: seen on 2 cores."""
JOBS_OF_ALL = 6
"""Data, first trainings and evaluation, tables and plots."""
JOBS_OF_A_TASK = 2
"""A training and its evaluation."""

TEACHER = 4 / 3
"""The teacher's forward pass adds a third to a step of the next task."""


def training_hours(settings: RunSettings, device: torch.device) -> float:
    """Hours that a whole run takes on a device.

    The trainings of genifer wait for each other; the bounds, and other seeds, run beside them where
    the settings let trainings run side by side on a CPU.
    """
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    at_once = 1
    if settings.runtime.device == device.type == "cpu":
        at_once = max(1, cores // settings.runtime.threads)
        torch.set_num_threads(min(settings.runtime.threads, cores))
    try:
        chain, beside = _seconds_of_a_seed(settings, device)
    finally:
        torch.set_num_threads(threads)
    return max(chain, len(settings.seeds) * (chain + beside) / at_once) / 3600


def _seconds_of_a_seed(settings: RunSettings, device: torch.device) -> tuple[float, float]:
    """Seconds of the first task and of genifer after it, and of the two bounds."""
    precision = pick_precision(settings.runtime.precision, device)
    stage = Stage("pretrain_gan", 0, 0, Path(), device, precision)
    size, channels = settings.data.image_size, settings.data.channels
    classifier = new_classifier(settings, device)

    def of_classifier(batch_size: int) -> float:
        images = torch.randn(batch_size, channels, size, size, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.zeros(batch_size, dtype=torch.int64, device=device)

        def step() -> None:
            with stage.autocast():
                logits = classifier(images)
            F.cross_entropy(logits.float(), labels).backward()

        return _seconds(step, device)

    later = len(settings.scenario.tasks) - 1 - settings.start.task
    chain, beside = JOBS_OF_ALL * JOB_SECONDS, 0.0
    if settings.start.classifier is None:
        first = settings.pretrain_classifier
        chain += first.steps * of_classifier(first.batch_size)
    if not later:
        return chain, beside
    for name, bound in (("finetune", settings.finetune), ("joint", settings.joint)):
        if name in settings.methods:
            beside += later * (bound.steps * of_classifier(bound.batch_size) + JOBS_OF_A_TASK * JOB_SECONDS)
    if "genifer" in settings.methods:
        seconds = settings.genifer.steps * of_classifier(settings.genifer.batch_size) * TEACHER
        chain += later * (seconds + (JOBS_OF_A_TASK + 1) * JOB_SECONDS)
        gan_steps = settings.train_gan.steps * (later - 1)
        if settings.start.gan is None:
            gan_steps += settings.pretrain_gan.steps
        chain += gan_steps * _seconds(_gan_step(settings, stage), device)
    return chain, beside


def _gan_step(settings: RunSettings, stage: Stage) -> Callable[[], None]:
    """A step of the GAN on the first task."""
    gan, data = new_gan_step(settings, stage)
    normalize = Normalization(data.mean, data.std).to(stage.device)
    batches = gan_batches(gan, gan_data(gan, data, stage.start()), normalize)

    def step() -> None:
        batch = next(batches)
        gan.discriminator_step(batch, 1)
        gan.generator_step(batch)

    return step


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    """Median time of a step, after one to warm up."""

    def timed() -> float:
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    timed()
    times = [timed()]
    while sum(times) < TIMED_SECONDS and len(times) < MOST_STEPS:
        times.append(timed())
    return statistics.median(times)


def bytes_needed(settings: RunSettings) -> int:
    """Bytes of a run's results: prepared images (where their number is known), checkpoints, resume files."""
    tasks, channels, size = settings.scenario.tasks, settings.data.channels, settings.data.image_size
    needed = IMAGES_IN.get(settings.data.dataset, 0) * channels * size**2
    with torch.device("meta"):
        classifier = new_classifier(settings, torch.device("meta"))
        generator, discriminator = new_gan(
            settings.gan,
            settings.generator,
            settings.discriminator,
            classifier,
            sum(tasks),
            torch.empty(1, channels, size, size),
        )
    classifiers = 1 + len(settings.methods) * (len(tasks) - 1)
    needed += len(settings.seeds) * classifiers * _bytes(classifier)
    # Weights and one or two moments; of the generator also the running average.
    resumed = 3 * _bytes(classifier)
    if "genifer" in settings.methods:
        needed += len(settings.seeds) * (len(tasks) - 1) * (_bytes(generator) + _bytes(discriminator))
        resumed = max(resumed, 4 * _bytes(generator) + 3 * _bytes(discriminator))
    return needed + KEPT * resumed


def _bytes(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
