"""The context of a job that trains: its seed, its device, and what its resume state belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from genifer.config import RunSettings, RuntimeSettings
from genifer.runtime.device import (
    Arguments,
    Result,
    autocast,
    compiled,
    configure,
    explained_memory,
    pick_compile,
    pick_device,
    pick_precision,
)
from genifer.runtime.seeds import job_seed, seeded_generator
from genifer.runtime.tensors import load_description
from genifer.training.loop import Judge, Loop
from genifer.training.resume import Part, checksums
from genifer.versions import batch_block_of_job, job_settings, parse_json, steps_of_job

DEFAULTS = RuntimeSettings()


@dataclass(frozen=True)
class Job:
    """One execution of a training.

    Attributes:
        name: of the job; with ``seed`` and ``task`` it determines all random numbers.
        output: folder for checkpoint, metrics, status, trackers' and resume files.
        precision: fp32, tf32 or bf16.
        block: of the settings that hold the batch size and the learning rate, for messages.
        deterministic: whether to insist on algorithms that give the same bits every time.
        compile: whether to compile the losses of a step.
        resume_every: minutes between resume files; 0 writes one after every step.
        collapse_limit: below it a GAN has collapsed; 0 never stops a training.
        trackers: names of the experiment trackers.
        belongs_to: the settings, and the checksums of the inputs, that resume files belong to.
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
    collapse_limit: float = DEFAULTS.collapse_limit
    trackers: Sequence[str] = ()
    belongs_to: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.name}, task {self.task}, seed {self.seed}"

    def start(self) -> torch.Generator:
        """Configure PyTorch and return the generator of all random numbers that the job draws."""
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
            parts: all that a step reads and changes: networks, optimizers, schedules, random generators,
                positions in the data. They are what a resume file holds.
            judge: looks at each step's scalars, beyond whether they are finite.
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
    """Give the context of a training, whose task is that of its images.

    Args:
        name: of the job.
        checkpoints: that it reads, by what they are; None for those that are not given.
        settings: that it depends on, as JSON; None takes them from ``run``.
    """
    runtime, block = run.runtime, batch_block_of_job(name)
    task = max(load_description(path, "data set")["task"] for path in data)
    device = pick_device(runtime.device)
    read = {f"images {index}": path for index, path in enumerate(data)}
    read |= {what: path for what, path in checkpoints.items() if path is not None}
    depends = parse_json(settings, "--settings") if settings is not None else job_settings(run, name)
    with explained_memory(f"{block}.batch_size"):
        yield Job(
            name=name,
            seed=seed,
            task=task,
            output=output,
            device=device,
            precision=pick_precision(runtime.precision, device),
            block=block,
            deterministic=runtime.deterministic,
            compile=pick_compile(runtime.compile, device, steps_of_job(name, run), runtime.deterministic),
            resume_every=runtime.resume_every,
            collapse_limit=runtime.collapse_limit,
            trackers=runtime.trackers,
            belongs_to={
                "job": [name, seed, task],
                "settings": depends,
                "device": device.type,
                **checksums(read),
            },
        )
