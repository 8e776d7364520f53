"""The loop of a training: counts the remaining steps, records their scalars, writes resume files."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from genifer.errors import GeniferError, Interrupted
from genifer.run_file import flat_settings
from genifer.runtime import parallel
from genifer.runtime.progress import Progress
from genifer.runtime.status import Status, describe_lost_attempt, machine_of
from genifer.runtime.tracking import Tracked, Trackers
from genifer.runtime.usage import Usage, usage
from genifer.training.metrics import Metrics
from genifer.training.resume import (
    RESUME_FOLDER,
    Clock,
    Part,
    ResumeFiles,
    Stop,
    not_finite,
    restore_state,
    state_of,
)

if TYPE_CHECKING:
    from genifer.training.job import Job

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.csv"

SAMPLE_GRIDS = 10
"""Number of sample grids that a GAN's training sends to the trackers."""

Judge = Callable[[int, Mapping[str, float]], str | None]
"""Takes a step (counted from 0) and its scalars; returns an error message if they show a failure."""


class Loop:
    """Counts the remaining steps, records their scalars, and writes resume files.

    ``for step in loop`` counts from 0, or from where an interrupted training stopped; `record` takes each
    step's scalars; call `finish` after writing the checkpoint.

    The training ends with a `GeniferError` if a scalar or weight is not finite or ``judge`` reports a
    failure. A state with weights that are not finite is never written to a file.
    """

    def __init__(self, job: Job, count: int, parts: Mapping[str, Part], judge: Judge | None) -> None:
        self.job = job
        self.count = count
        self.done = 0
        self.judge = judge
        self.metrics = Metrics(count)
        self.parts: dict[str, Part] = {**parts, "metrics": self.metrics}
        self.files = ResumeFiles(job.output / RESUME_FOLDER, job.belongs_to, job.precision)
        self.clock = Clock(job.resume_every)
        self.stop = Stop(obeys_second=parallel.size() == 1)
        self._in_preparation: Mapping[str, Any] | None = None
        """The state to resume from, if it was written during the preparation."""

    def __enter__(self) -> Loop:
        if parallel.is_first():
            for path in self.job.output.glob(".*.safetensors"):
                path.unlink()  # half-written: the training was killed while it wrote its checkpoint
        found = self.files.read()
        self._require_same_step(0 if found is None else found[0])
        lost = describe_lost_attempt(self.job.output, 0 if found is None else found[0])
        if lost is not None and parallel.is_first():
            log.warning("[%s] %s", self.job.title, lost)
        if found is not None:
            self.done, state = found
            restore_state(self.parts, state, self.files.folder)
            self._in_preparation = state if "preparation" in state else None
            if self._in_preparation is None:
                log.info("[%s] resumes after step %s", self.job.title, f"{self.done:,}")
        job = self.job
        settings = flat_settings(job.belongs_to.get("settings", {}))
        trackers = job.trackers if parallel.is_first() else ()
        self.trackers = Trackers(trackers, Tracked(job.output, job.title, settings, self.done))
        about = {"job": job.name, "seed": job.seed, "task": job.task}
        machine = machine_of(job.device, job.precision)
        self.status = Status(job.output, about | machine, self.count, job.device, parallel.is_first())
        self.progress = Progress(job.title, self.count)
        self.listening = self.stop.listening()
        self.listening.__enter__()
        self.clock.reset()
        self.progress.start(self.done)
        self.status.begin(self.done, resumes=found is not None)
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
            self._save_or_stop(self.done, self.count, f"[{self.job.title}]")
        self._checked_state()

    def preparation(self, count: int, parts: Mapping[str, Part]) -> Iterator[int]:
        """Count the steps of the preparation before the training's first step; an interrupted one resumes.

        Args:
            parts: everything that these steps change, besides the parts of the training.
        """
        training, counter = self.parts, _Counter()
        self.parts = {**training, **{f"preparation: {name}": part for name, part in parts.items()}}
        self.parts["preparation"] = counter
        try:
            if self._in_preparation is not None:
                restore_state(self.parts, self._in_preparation, self.files.folder)
                log.info("[%s] resumes its preparation after step %s", self.job.title, f"{counter.done:,}")
            for step in range(counter.done, count):
                yield step
                counter.done = step + 1
                self.status.prepare(counter.done, count)
                self._save_or_stop(counter.done, count, f"[{self.job.title}], preparation")
        finally:
            self.parts, self._in_preparation = training, None

    def _require_same_step(self, done: int) -> None:
        """Raise an error if the processes of a training would resume from different steps."""
        most, least = parallel.largest(done, -done)
        if most != -least:
            raise GeniferError(
                f"{self.files.folder}: the processes of the training (runtime.gpus_per_job) found different "
                f"resume files here, of steps {-least:,} and {most:,}; run them where all see the same folder"
            )

    def _save_or_stop(self, done: int, count: int, title: str) -> None:
        """After a step, write the state if it is due, and stop if any process was asked to."""
        stop, due, *used = parallel.largest(
            self.stop.signal or 0, parallel.is_first() and self.clock.due(), *_used_by_each_process()
        )
        self.status.others = _used_by_others(used)
        if stop:
            self.stop.signal = signal.Signals(stop)
        if stop or (due and done < count):
            self._save()
        if stop:
            raise self.stop.interrupted(title, done)

    def record(self, step: int, scalars: Mapping[str, Tensor]) -> None:
        """Record the scalars of a step (counted from 0)."""
        self.metrics.add(step, scalars)
        if self.metrics.due:
            self._check_scalars()
        else:
            self.progress.update(step + 1, None)
        self.status.update(step + 1)

    def sample_grid_due(self, step: int) -> bool:
        """Return whether a sample grid is due after a step (counted from 0), for the trackers."""
        interval = max(1, self.count // SAMPLE_GRIDS)
        return bool(self.trackers.active) and ((step + 1) % interval == 0 or step + 1 == self.count)

    def sample_grid(self, step: int, name: str, image: Tensor) -> None:
        """Send an image (channels, height, width), uint8, to the trackers."""
        self.trackers.image(step + 1, name, image)

    def _check_scalars(self) -> None:
        """Fetch the scalars of the last steps and check them; send complete rows to the trackers."""
        for step, scalars in self.metrics.fetch():
            row = self.metrics.take(step, scalars)
            not_finite = [f"{name} is {value}" for name, value in scalars.items() if not math.isfinite(value)]
            failure = " and ".join(not_finite) or (
                self.judge(step, scalars) if self.judge is not None else None
            )
            if failure:
                raise self._failure(step + 1, failure)
            if row is not None:
                self.trackers.scalars(step + 1, row)
                self.status.row(row)
            self.progress.update(step + 1, row)

    def _checked_state(self) -> dict[str, Any]:
        """Return the state of all parts; raise an error if it is not fit to resume from."""
        self._check_scalars()
        state = state_of(self.parts)
        tensor = not_finite(state)
        if tensor is not None:
            raise self._failure(self.done, f"{tensor} is not finite")
        return state

    def _save(self) -> None:
        state = self._checked_state()
        try:
            if parallel.is_first():
                self.files.write(self.done, state)
        except GeniferError as error:
            if self.stop.signal is not None:
                raise
            log.warning("[%s] continues without a resume file: %s", self.job.title, error)
        self.clock.reset()

    def _failure(self, step: int, what: str) -> GeniferError:
        block = self.job.block
        kept = self.files.newest()
        state = (
            f"{kept} holds the last good state, from which the same settings resume."
            if kept is not None
            else "No resume state was written: the same settings start over."
        )
        if block == "gan":
            rates = "gan.generator_learning_rate and gan.discriminator_learning_rate, or raise gan.r1_gamma"
        else:
            rates = f"{block}.optimizer.learning_rate"
        precision = "" if self.job.precision == "fp32" else ", or set runtime.precision: fp32"
        return GeniferError(
            f"[{self.job.title}] went wrong at step {step:,}: {what}.\n"
            f"{self.metrics.last_steps()}\n"
            f"No checkpoint was written. {state} To start over, lower {rates}{precision}, and run the same "
            "command again"
        )

    def finish(self) -> None:
        """Write metrics.csv and delete the resume files."""
        if parallel.is_first():
            about = {"job": self.job.name, "seed": self.job.seed, "task": self.job.task}
            self.metrics.write(self.job.output / METRICS_FILE, about)
            self.files.delete()
        self.status.end("done", self.done)


class _Counter:
    """The number of steps of a preparation that are done, as a part of the resume state."""

    def __init__(self) -> None:
        self.done = 0

    def state_dict(self) -> dict[str, int]:
        return {"done": self.done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.done = state["done"]


def _used_by_each_process() -> list[int]:
    """Return CPU time (ms) and peak memory (MiB) of this process, in lists by `parallel.in_own_place`."""
    if parallel.size() == 1:
        return []
    used = usage()
    return [*parallel.in_own_place(int(1000 * used.cpu_seconds)), *parallel.in_own_place(int(used.memory_mb))]


def _used_by_others(used: Sequence[int]) -> Usage:
    """Return the total usage of all processes except the first, from the lists of all processes."""
    n = len(used) // 2
    return Usage(cpu_seconds=sum(used[1:n]) / 1000, memory_mb=sum(used[n + 1 :]))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
