"""The context of a training: its seed, its device, and the inputs and settings of its resume state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from genifer.config import RunSettings, RuntimeSettings
from genifer.data.batches import OnDevice
from genifer.runtime import parallel
from genifer.runtime.device import (
    Arguments,
    Result,
    autocast,
    compiled,
    configure,
    explained_memory,
    pick_compile,
    pick_device,
)
from genifer.runtime.seeds import job_seed, seeded_generator
from genifer.runtime.tensors import load_description, load_shape
from genifer.training.loop import Judge, Loop
from genifer.training.precision import Choice, ClassifierSizes, choose_precision
from genifer.training.resume import RESUME_FOLDER, Part, ResumeFiles, checksums
from genifer.versions import batch_block_of_job, job_settings, parse_json, steps_of_job

log = logging.getLogger(__name__)

DEFAULTS = RuntimeSettings()


@dataclass(frozen=True)
class Job:
    """One execution of a training.

    Attributes:
        name: of the job; with ``seed`` and ``task`` it determines all random numbers.
        output: folder for the checkpoint, metrics, status, trackers' files and resume files.
        precision: fp32, tf32 or bf16.
        block: block of settings that holds the batch size and the learning rate, for messages.
        deterministic: whether to use only algorithms that give the same bits every time.
        compile: whether to compile the losses of a step.
        resume_every: minutes between resume files; 0 writes one after every step.
        data_on_device: whether to keep images in the device's memory (`load_task_data`).
        collapse_limit: value below which a GAN counts as collapsed; 0 never stops a training.
        trackers: names of the experiment trackers.
        belongs_to: settings and checksums of the inputs, which must match those of a resume file.
    """

    name: str
    seed: int
    task: int
    output: Path
    device: torch.device
    precision: str
    block: str = ""
    deterministic: bool = False
    compile: bool = False
    resume_every: float = DEFAULTS.resume_every
    data_on_device: OnDevice = DEFAULTS.data_on_device
    collapse_limit: float = DEFAULTS.collapse_limit
    trackers: Sequence[str] = ()
    belongs_to: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.name}, task {self.task}, seed {self.seed}"

    def start(self) -> torch.Generator:
        """Configure PyTorch and return the generator for all random numbers that the job draws."""
        configure(self.device, self.precision, self.deterministic)
        return seeded_generator(job_seed(self.seed, self.name, self.task), self.device)

    def autocast(self) -> torch.autocast:
        return autocast(self.device, self.precision)

    def compiled(self, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """Return the function, compiled if the job compiles."""
        return compiled(function) if self.compile else function

    def loop(self, steps: int, parts: Mapping[str, Part], judge: Judge | None = None) -> Loop:
        """Return the loop of the training.

        Args:
            parts: everything that a step reads and changes: networks, optimizers, schedules, random
                generators, positions in the data. A resume file holds their states.
            judge: additional check of each step's scalars; the loop itself checks that they are finite.
        """
        return Loop(self, steps, parts, judge)


@contextmanager
def job_of(
    name: str,
    run: RunSettings,
    seed: int,
    data: Sequence[Path],
    checkpoints: Mapping[str, Path | None],
    output: Path,
    settings: str | None,
) -> Iterator[Job]:
    """Context manager: set up a training; its task is the latest of its data files.

    Args:
        name: name of the job.
        data: prepared images that it reads.
        checkpoints: checkpoints that it reads, by their role; None for those not given.
        settings: the settings that it depends on, as JSON; None takes them from ``run``.
    """
    runtime, block = run.runtime, batch_block_of_job(name)
    task = max(load_description(path, "data set")["task"] for path in data)
    device = pick_device(runtime.device)
    read = {f"images {index}": path for index, path in enumerate(data)}
    read |= {what: path for what, path in checkpoints.items() if path is not None}
    depends = parse_json(settings, "--settings") if settings is not None else job_settings(run, name)
    belongs_to = {
        "job": [name, seed, task],
        "settings": depends,
        "device": device.type,
        **checksums(read),
    }
    choice = _precision(run, device, data[0], checkpoints, ResumeFiles(output / RESUME_FOLDER, belongs_to))
    with parallel.joined(runtime.gpus_per_job, device), explained_memory(f"{block}.batch_size"):
        choice = parallel.of_first(choice)
        log.info("[%s, task %d, seed %d] precision %s: %s", name, task, seed, choice.precision, choice.reason)
        yield Job(
            name=name,
            seed=seed,
            task=task,
            output=output,
            device=device,
            precision=choice.precision,
            block=block,
            deterministic=runtime.deterministic,
            compile=parallel.size() == 1
            and pick_compile(runtime.compile, device, steps_of_job(name, run), runtime.deterministic),
            resume_every=runtime.resume_every,
            data_on_device=runtime.data_on_device,
            collapse_limit=runtime.collapse_limit,
            trackers=runtime.trackers,
            belongs_to=belongs_to,
        )


def _precision(
    run: RunSettings,
    device: torch.device,
    images: Path,
    checkpoints: Mapping[str, Path | None],
    resume_files: ResumeFiles,
) -> Choice:
    """Return the precision of a training; one that resumes keeps what ``auto`` chose when it began."""
    runtime = run.runtime
    began_with = resume_files.precision() if runtime.precision == "auto" else None
    if began_with is not None:
        return Choice(began_with, "as before the interruption")
    given = checkpoints.get("classifier") or checkpoints.get("old classifier")
    if given is not None:
        sizes = ClassifierSizes.of_files(given, images)
    else:
        _, channels, size, _ = load_shape(images, "data set", "images")
        sizes = ClassifierSizes(
            run.classifier.architecture, run.classifier.width, channels, size, run.classifier.stem
        )
    return choose_precision(runtime.precision, device, sizes, runtime.deterministic)
