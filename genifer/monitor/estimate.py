"""Estimates of a run's cost before it starts: hours from a few timed steps, bytes from networks' sizes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from genifer.config import RunSettings
from genifer.layout import GAN, Layout, PlannedJob
from genifer.methods.method import Preparation
from genifer.training.job import Job
from genifer.training.networks import new_gan
from genifer.training.precision import choose_precision
from genifer.training.resume import KEPT, Part
from genifer.training.untrained import (
    sizes_of,
    two_steps,
    untrained_classifier,
    untrained_first_task,
    untrained_gan,
    untrained_task,
)

TIMED_SECONDS = 1.0
"""Time for which a step is repeated, once to `MOST_STEPS` times, after a warm-up step."""
MOST_STEPS = 10
LONG_STEP = 3.0
"""Seconds of a step that needs no warm-up: what the first step does once takes less than a tenth of it."""

JOB_SECONDS = 4.0
"""Time to start a job, nearly the whole time of an evaluation, table or plot; measured on 2 cores."""
JOBS_AROUND = 4
"""Jobs before and after the longest chain of trainings: preparation, evaluation, table, plot."""

WEIGHTS_RESUMED = 3
"""Size of a resume file relative to the network's: its weights, and one or two moments of the optimizer."""


@dataclass(frozen=True)
class TimeNeeded:
    """Estimated hours of a whole run, and of the longest training of each rule."""

    run: float
    longest: Mapping[str, float]


def training_hours(settings: RunSettings, device: torch.device) -> float:
    """Estimate the hours that a whole run takes on a device."""
    return time_needed(settings, device).run


def time_needed(settings: RunSettings, device: torch.device) -> TimeNeeded:
    """Estimate the time of a run on a device.

    Trainings wait for those that they depend on; others run in parallel if the settings allow it on a CPU.
    """
    at_once = 1
    if settings.runtime.device == device.type == "cpu":
        at_once = max(1, (os.cpu_count() or 1) // settings.runtime.threads)
    layout = layout_of_one_seed(settings)
    with threads_of_a_training(settings):
        seconds = _seconds_of_trainings(layout, device)
    chains: dict[str, float] = {}
    for job in layout.trainings:
        before = [chains[other.folder] for other in layout.trained_before(job)]
        chains[job.folder] = seconds[job.folder] + max(before, default=0.0)
    chain = max(chains.values(), default=0.0) + JOBS_AROUND * JOB_SECONDS
    # Each GAN's replay is evaluated and drawn. Pages, and tables and plots over all seeds, are made once.
    others = len(layout.evaluations) + 2 * len(layout.replay_evaluations)
    once = 1 + preparations(settings) + len(layout.tabulated) + len(layout.figures)
    per_seed = sum(seconds.values()) + others * JOB_SECONDS
    total = len(settings.seeds) * per_seed + once * JOB_SECONDS
    longest: dict[str, float] = {}
    for job in layout.trainings:
        longest[job.name] = max(longest.get(job.name, 0.0), seconds[job.folder] / 3600)
    return TimeNeeded(max(chain, total / at_once) / 3600, longest)


def preparations(settings: RunSettings) -> int:
    """Return how often the data are prepared: once, or once per seed if each has its own class order."""
    return len(settings.seeds) if settings.scenario.order_is_drawn else 1


@contextmanager
def threads_of_a_training(settings: RunSettings) -> Iterator[None]:
    """Context manager: compute with as many threads as a training of the run has on this machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(settings.runtime.threads, os.cpu_count() or 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def layout_of_one_seed(settings: RunSettings) -> Layout:
    """Return the layout of a run with only its first seed, because all seeds have the same jobs."""
    return Layout(settings.model_copy(update={"seeds": settings.seeds[:1]}))


def _seconds_of_trainings(layout: Layout, device: torch.device) -> dict[str, float]:
    """Estimate the seconds of each training, by its folder; steps of equal trainings are timed once."""
    timed: dict[tuple[str, str, bool], Timing] = {}
    seconds = {}
    for job in layout.trainings:
        timing = Timing(0.0)
        if job.steps:
            # The group identifies the method and the settings of a variant.
            key = (job.name, job.group, job.task == layout.first)
            if key not in timed:
                timed[key] = _timing(job, device)
            timing = timed[key]
        seconds[job.folder] = timing.preparation + job.steps * timing.step + JOB_SECONDS
    return seconds


@dataclass(frozen=True)
class Timing:
    """Seconds of a training's step, and of all steps of its preparation."""

    step: float
    preparation: float = 0.0


def _timing(job: PlannedJob, device: torch.device) -> Timing:
    """Measure the median time of a training's step, on random images with untrained networks."""
    preparation = _TimedPreparation(device)
    step = _step_of(job, device, preparation)

    def timed() -> float:
        began = time.perf_counter()
        step()
        _wait_for(device)
        return time.perf_counter() - began

    first = timed()
    times = [first if first >= LONG_STEP else timed()]
    while sum(times) < TIMED_SECONDS and len(times) < MOST_STEPS:
        times.append(timed())
    return Timing(statistics.median(times), preparation.seconds)


class _TimedPreparation:
    """Run two steps of a preparation, and estimate the seconds of all from the second one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0

    def __call__(self, count: int, parts: Mapping[str, Part]) -> Iterator[int]:
        seconds = 0.0
        for step in two_steps(count, parts):
            _wait_for(self.device)
            began = time.perf_counter()
            yield step
            _wait_for(self.device)
            seconds = time.perf_counter() - began
        self.seconds += count * seconds


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _step_of(job: PlannedJob, device: torch.device, preparation: Preparation) -> Callable[[], object]:
    settings = job.settings
    runtime = settings.runtime
    choice = choose_precision(runtime.precision, device, sizes_of(settings), runtime.deterministic)
    precision = choice.precision
    context = Job(job.name, job.seed, job.task, Path(), device, precision)
    if _is_gan(job):
        gan = untrained_gan(settings, context)

        def step() -> None:
            batch = gan.draw_batch()
            generated = gan.share(batch)
            gan.discriminator_step(batch, 1, generated)  # step 1, because most steps are without R1
            gan.generator_step(batch, generated)
            gan.update_ema(1)

        return step
    if job.method is None:
        return untrained_first_task(settings, context).step
    return untrained_task(settings, job.method, context, preparation).step


def _is_gan(job: PlannedJob) -> bool:
    return Path(job.checkpoint).name == GAN


def bytes_needed(settings: RunSettings) -> int:
    """Estimate the bytes of a run's results: prepared images, checkpoints and resume files.

    Images are included if the data set declares their number.
    """
    data = settings.data
    dataset = settings.registry.dataset(data.dataset)
    prepared = (dataset.images or 0) * data.channels * data.image_size**2
    layout = layout_of_one_seed(settings)
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    checkpoints = resumed = 0
    for job in layout.trainings:
        key = (job.name, job.group)
        if key not in sizes:
            sizes[key] = _checkpoint_and_resume_file(job)
        checkpoints += sizes[key][0]
        resumed = max(resumed, sizes[key][1])
    return preparations(settings) * prepared + len(settings.seeds) * checkpoints + KEPT * resumed


def _checkpoint_and_resume_file(job: PlannedJob) -> tuple[int, int]:
    """Return the bytes of a training's checkpoint and of one resume file."""
    settings, meta = job.settings, torch.device("meta")
    data, n_classes = settings.data, sum(settings.scenario.tasks)
    with meta:
        classifier = untrained_classifier(settings, meta)
        if not _is_gan(job):
            return _bytes(classifier), WEIGHTS_RESUMED * _bytes(classifier)
        images = torch.empty(1, data.channels, data.image_size, data.image_size)
        generator, discriminator = new_gan(
            settings.gan, settings.generator, settings.discriminator, classifier, n_classes, images
        )
    both = _bytes(generator) + _bytes(discriminator)
    return both, WEIGHTS_RESUMED * both + _bytes(generator)  # the EMA


def _bytes(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
