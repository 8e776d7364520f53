"""What every training stage has: its seed, its device, its steps and the record of them."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from genifer.runtime.device import autocast, configure
from genifer.runtime.files import whole_file
from genifer.runtime.progress import Progress
from genifer.runtime.seeds import seeded_generator, stage_seed
from genifer.training.resume import Clock, Part, ResumeFiles, Stop, restore_state, state_of

log = logging.getLogger(__name__)

ROWS = 200
"""Rows of a stage's metrics.csv, about; each holds means over the steps since the one before."""

RESUME_EVERY = 5.0
"""Minutes between resume files, if nothing else is asked for."""


@dataclass(frozen=True)
class Stage:
    """One run of one stage.

    Attributes:
        name: of the stage; with ``seed`` and ``task`` it decides all random numbers.
        output: folder for checkpoint, metrics, TensorBoard events and resume files.
        deterministic: whether to insist on algorithms that give the same bits every time.
        resume_every: minutes between resume files; 0 writes one after every step.
        belongs_to: the settings and the checksums of the inputs that resume files are of.
    """

    name: str
    seed: int
    task: int
    output: Path
    device: torch.device
    precision: str
    deterministic: bool = False
    resume_every: float = RESUME_EVERY
    belongs_to: Mapping[str, Any] = field(default_factory=dict)

    def start(self) -> torch.Generator:
        """Set PyTorch up and return the generator of all of the stage's draws."""
        configure(self.device, self.precision, self.deterministic)
        return seeded_generator(stage_seed(self.seed, self.name, self.task), self.device)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        with autocast(self.device, self.precision):
            yield

    def steps(self, count: int, parts: Mapping[str, Part]) -> Steps:
        """The steps of the stage's loop.

        Args:
            parts: all that a step reads and changes: networks, optimisers, schedules, random generators,
                positions in the data. They are what a resume file holds.
        """
        return Steps(self, count, parts)


class Steps:
    """The steps that are still to do, the record of their scalars, and resume files between them.

    ``for step in steps`` counts from 0, or from where an interrupted run was; `record` takes each
    step's scalars; `finish`, when the checkpoint is written, ends the stage.

    Scalars stay on the device and are averaged there; they are fetched for one of the
    ``ROWS`` rows only, so that a step does not wait for the device.
    """

    def __init__(self, stage: Stage, count: int, parts: Mapping[str, Part]) -> None:
        self.stage = stage
        self.count = count
        self.done = 0
        self.steps_per_row = max(1, count // ROWS)
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.parts: dict[str, Part] = {**parts, "record": self}
        self.files = ResumeFiles(stage.output / "resume", stage.belongs_to)
        self.clock = Clock(stage.resume_every)
        self.stop = Stop()
        self.title = f"{stage.name}, task {stage.task}, seed {stage.seed}"

    def __enter__(self) -> Steps:
        from genifer.runtime.tracking import TensorBoard

        for path in self.stage.output.glob(".*.safetensors"):
            path.unlink()  # a checkpoint during whose writing the stage was killed
        found = self.files.read()
        if found is not None:
            self.done, state = found
            restore_state(self.parts, state)
            log.info("[%s] goes on after step %s", self.title, f"{self.done:,}")
        self.tensorboard = TensorBoard(self.stage.output / "tensorboard", self.done)
        self.progress = Progress(self.title, self.count)
        self.listening = self.stop.listening()
        self.listening.__enter__()
        self.clock.reset()
        self.progress.start(self.done)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.listening.__exit__(kind, error, traceback)
        self.progress.stop()
        self.tensorboard.close()

    def __iter__(self) -> Iterator[int]:
        for step in range(self.done, self.count):
            yield step
            self.done = step + 1
            if self.stop.signal is not None or (self.clock.due() and self.done < self.count):
                self.files.write(self.done, state_of(self.parts))
                self.clock.reset()
            if self.stop.signal is not None:
                raise self.stop.interrupted(f"[{self.title}]", self.done)

    def record(self, step: int, scalars: dict[str, Tensor]) -> None:
        """Take the scalars of a step (counted from 0)."""
        for name, value in scalars.items():
            self.sums[name] = (
                self.sums[name] + value.detach() if name in self.sums else value.detach().clone()
            )
            self.counts[name] = self.counts.get(name, 0) + 1
        done = step + 1
        if done % self.steps_per_row == 0 or done == self.count:
            means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
            self.sums.clear()
            self.counts.clear()
            self.rows.append({"step": done, **means})
            self.tensorboard.add(done, means)
            self.progress.update(done, means)
        else:
            self.progress.update(done, None)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "sums": self.sums, "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rows, self.counts = state["rows"], state["counts"]
        self.sums = {name: total.to(self.stage.device) for name, total in state["sums"].items()}

    def finish(self) -> None:
        """Write metrics.csv; what was only needed to go on is deleted."""
        stage = {"stage": self.stage.name, "seed": self.stage.seed, "task": self.stage.task}
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with (
            whole_file(self.stage.output / "metrics.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.DictWriter(file, [*stage, *names], lineterminator="\n")
            table.writeheader()
            table.writerows(
                {**stage, **{name: f"{value:.6g}" for name, value in row.items()}} for row in self.rows
            )
        self.files.delete()
