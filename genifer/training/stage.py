"""What every training stage has: its seed, its device, and the record of its steps."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from genifer.runtime.device import autocast, configure
from genifer.runtime.files import whole_file
from genifer.runtime.progress import Progress
from genifer.runtime.seeds import seeded_generator, stage_seed

ROWS = 200
"""Rows of a stage's metrics.csv, about; each holds means over the steps since the one before."""


@dataclass(frozen=True)
class Stage:
    """One run of one stage.

    Attributes:
        name: of the stage; with ``seed`` and ``task`` it decides all random numbers.
        output: folder for checkpoint, metrics and TensorBoard events.
    """

    name: str
    seed: int
    task: int
    output: Path
    device: torch.device
    precision: str

    def start(self) -> torch.Generator:
        """Set PyTorch up and return the generator of all of the stage's draws."""
        configure(self.device, self.precision)
        return seeded_generator(stage_seed(self.seed, self.name, self.task), self.device)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        with autocast(self.device, self.precision):
            yield

    def record(self, steps: int) -> Record:
        return Record(self, steps)


class Record:
    """The scalars of a stage's steps: metrics.csv, TensorBoard and the progress display.

    Scalars stay on the device and are averaged there; they are fetched for one of the
    ``ROWS`` rows only, so that a step does not wait for the device.
    """

    def __init__(self, stage: Stage, steps: int) -> None:
        from genifer.runtime.tracking import TensorBoard

        self.stage = stage
        self.steps = steps
        self.steps_per_row = max(1, steps // ROWS)
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.tensorboard = TensorBoard(stage.output / "tensorboard")
        title = f"{stage.name}, task {stage.task}, seed {stage.seed}"
        self.progress = Progress(title, steps)

    def __enter__(self) -> Record:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.progress.stop()
        self.tensorboard.close()

    def add(self, step: int, scalars: dict[str, Tensor]) -> None:
        """Take the scalars of a step (counted from 0)."""
        for name, value in scalars.items():
            self.sums[name] = (
                self.sums[name] + value.detach() if name in self.sums else value.detach().clone()
            )
            self.counts[name] = self.counts.get(name, 0) + 1
        done = step + 1
        if done % self.steps_per_row == 0 or done == self.steps:
            means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
            self.sums.clear()
            self.counts.clear()
            self.rows.append({"step": done, **means})
            self.tensorboard.add(done, means)
            self.progress.update(done, means)
        else:
            self.progress.update(done, None)

    def save(self) -> None:
        """Write metrics.csv."""
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
