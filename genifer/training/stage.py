"""What every training stage has: its seed, its device, its steps and the record of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from genifer.config import flat_settings
from genifer.errors import GeniferError, Interrupted
from genifer.runtime.device import Arguments, Result, autocast, compiled, configure
from genifer.runtime.progress import Progress
from genifer.runtime.seeds import seeded_generator, stage_seed
from genifer.runtime.status import Status, machine_of
from genifer.runtime.tracking import Tracked, Trackers
from genifer.training.record import Record
from genifer.training.resume import Clock, Part, ResumeFiles, Stop, not_finite, restore_state, state_of

log = logging.getLogger(__name__)

RESUME_EVERY = 5.0
"""Minutes between resume files, if nothing else is asked for."""

COLLAPSE_LIMIT = 0.01
"""Limit of `genifer.training.collapse.Collapse`, if nothing else is asked for."""

PICTURES = 10
"""How often a GAN's training shows a palette to the trackers."""

BLOCKS = {
    "pretrain_classifier": "pretrain_classifier",
    "pretrain_gan": "gan",
    "train_genifer": "genifer",
    "train_gan": "gan",
    "train_finetune": "finetune",
    "train_joint": "joint",
}
"""Block of settings with each stage's batch size and learning rate."""

Judge = Callable[[int, Mapping[str, float]], str | None]
"""Looks at a step (counted from 0) and its scalars; returns what has gone wrong, if something has."""


@dataclass(frozen=True)
class Stage:
    """One run of one stage.

    Attributes:
        name: of the stage; with ``seed`` and ``task`` it decides all random numbers.
        output: folder for checkpoint, metrics, status, trackers' and resume files.
        precision: fp32, tf32 or bf16.
        deterministic: whether to insist on algorithms that give the same bits every time.
        compile: whether to compile the losses of a step.
        resume_every: minutes between resume files; 0 writes one after every step.
        collapse_limit: below which a GAN has collapsed; 0 lets it go on.
        trackers: names of those that are told how the training goes.
        belongs_to: the settings and the checksums of the inputs that resume files are of.
    """

    name: str
    seed: int
    task: int
    output: Path
    device: torch.device
    precision: str
    deterministic: bool = False
    compile: bool = False
    resume_every: float = RESUME_EVERY
    collapse_limit: float = COLLAPSE_LIMIT
    trackers: Sequence[str] = ()
    belongs_to: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.name}, task {self.task}, seed {self.seed}"

    def start(self) -> torch.Generator:
        """Set PyTorch up and return the generator of all of the stage's draws."""
        configure(self.device, self.precision, self.deterministic)
        return seeded_generator(stage_seed(self.seed, self.name, self.task), self.device)

    def autocast(self) -> torch.autocast:
        return autocast(self.device, self.precision)

    def compiled(self, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """The function, compiled where that was asked for."""
        return compiled(function) if self.compile else function

    def steps(self, count: int, parts: Mapping[str, Part], judge: Judge | None = None) -> Steps:
        """The steps of the stage's loop.

        Args:
            parts: all that a step reads and changes: networks, optimisers, schedules, random generators,
                positions in the data. They are what a resume file holds.
            judge: looks at each step's scalars, beyond whether they are finite.
        """
        return Steps(self, count, parts, judge)


class Steps:
    """The steps that are still to do, the record of their scalars, and resume files between them.

    ``for step in steps`` counts from 0, or from where an interrupted run was; `record` takes each
    step's scalars; `finish`, when the checkpoint is written, ends the stage.

    A scalar or weight that is not finite, and what ``judge`` finds, end the training with a
    `GeniferError`; a state with such weights is written to no file.
    """

    def __init__(self, stage: Stage, count: int, parts: Mapping[str, Part], judge: Judge | None) -> None:
        self.stage = stage
        self.count = count
        self.done = 0
        self.judge = judge
        self.scalars = Record(count)
        self.parts: dict[str, Part] = {**parts, "record": self.scalars}
        self.files = ResumeFiles(stage.output / "resume", stage.belongs_to)
        self.clock = Clock(stage.resume_every)
        self.stop = Stop()

    def __enter__(self) -> Steps:
        for path in self.stage.output.glob(".*.safetensors"):
            path.unlink()  # a checkpoint during whose writing the stage was killed
        found = self.files.read()
        if found is not None:
            self.done, state = found
            restore_state(self.parts, state, self.files.folder)
            log.info("[%s] goes on after step %s", self.stage.title, f"{self.done:,}")
        stage = self.stage
        settings = flat_settings(stage.belongs_to.get("settings", {}))
        self.trackers = Trackers(stage.trackers, Tracked(stage.output, stage.title, settings, self.done))
        about = {"stage": stage.name, "seed": stage.seed, "task": stage.task}
        machine = machine_of(stage.device, stage.precision)
        self.status = Status(stage.output, about | machine, self.count, stage.device)
        self.progress = Progress(stage.title, self.count)
        self.listening = self.stop.listening()
        self.listening.__enter__()
        self.clock.reset()
        self.progress.start(self.done)
        self.status.begin(self.done)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.listening.__exit__(kind, error, traceback)
        self.progress.stop()
        self.trackers.close(finished=error is None)
        if error is not None:
            interrupted = isinstance(error, Interrupted | KeyboardInterrupt)
            self.status.end("interrupted" if interrupted else "failed", self.done, _first_line(error))

    def __iter__(self) -> Iterator[int]:
        for step in range(self.done, self.count):
            yield step
            self.done = step + 1
            if self.stop.signal is not None or (self.clock.due() and self.done < self.count):
                self._save()
            if self.stop.signal is not None:
                raise self.stop.interrupted(f"[{self.stage.title}]", self.done)
        self._sound_state()

    def record(self, step: int, scalars: Mapping[str, Tensor]) -> None:
        """Take the scalars of a step (counted from 0)."""
        self.scalars.add(step, scalars)
        if self.scalars.due:
            self._look()
        else:
            self.progress.update(step + 1, None)
        self.status.update(step + 1)

    def picture_due(self, step: int) -> bool:
        """Whether a picture is wanted after a step (counted from 0): a few times, if anyone looks."""
        often = max(1, self.count // PICTURES)
        return bool(self.trackers.active) and ((step + 1) % often == 0 or step + 1 == self.count)

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Show an image (channels, height, width), uint8, to the trackers."""
        self.trackers.picture(step + 1, name, image)

    def _look(self) -> None:
        """Fetch the scalars of the last steps: are they sound? Complete rows go to the trackers."""
        for step, scalars in self.scalars.fetch():
            row = self.scalars.take(step, scalars)
            odd = [f"{name} is {value}" for name, value in scalars.items() if not math.isfinite(value)]
            wrong = " and ".join(odd) or (self.judge(step, scalars) if self.judge is not None else None)
            if wrong:
                raise self._went_wrong(step + 1, wrong)
            if row is not None:
                self.trackers.scalars(step + 1, row)
                self.status.row(row)
            self.progress.update(step + 1, row)

    def _sound_state(self) -> dict[str, Any]:
        """The state of all parts, if it is one to go on from."""
        self._look()
        state = state_of(self.parts)
        odd = not_finite(state)
        if odd is not None:
            raise self._went_wrong(self.done, f"{odd} is not finite")
        return state

    def _save(self) -> None:
        state = self._sound_state()
        try:
            self.files.write(self.done, state)
        except GeniferError as error:
            if self.stop.signal is not None:
                raise
            log.warning("[%s] goes on without a resume file: %s", self.stage.title, error)
        self.clock.reset()

    def _went_wrong(self, step: int, what: str) -> GeniferError:
        block = BLOCKS[self.stage.name]
        kept = self.files.newest()
        state = (
            f"{kept} holds the last sound state, from which the same settings go on."
            if kept is not None
            else "No state was kept: the same settings begin anew."
        )
        if block == "gan":
            rates = "gan.generator_learning_rate and gan.discriminator_learning_rate, or raise gan.r1_gamma"
        else:
            rates = f"{block}.optimizer.learning_rate"
        precision = "" if self.stage.precision == "fp32" else ", or set runtime.precision: fp32"
        return GeniferError(
            f"[{self.stage.title}] went wrong at step {step:,}: {what}.\n"
            f"{self.scalars.last_steps()}\n"
            f"Nothing was written of it. {state} To begin anew, lower {rates}{precision}, and run the same "
            "command again"
        )

    def finish(self) -> None:
        """Write metrics.csv; what was only needed to go on is deleted."""
        stage = {"stage": self.stage.name, "seed": self.stage.seed, "task": self.stage.task}
        self.scalars.write(self.stage.output / "metrics.csv", stage)
        self.files.delete()
        self.status.end("done", self.done)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
