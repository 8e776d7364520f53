"""The progress of a run and its remaining time, from its plan and the files that its jobs write."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from genifer.monitor.watch.plan import Plan, Training
from genifer.runtime.status import STATUS, host_name, read_status

State = Literal["done", "running", "interrupted", "failed", "pending"]
StateOfRun = Literal["running", "done", "failed", "stopped"]

SILENT_HERE = timedelta(minutes=10)
SILENT_ELSEWHERE = timedelta(minutes=5)
"""Time without an update of its status after which a training counts as not running: on this machine, where
its process can also be checked, and on another one."""


@dataclass(frozen=True)
class TrainingProgress:
    """A training and its progress.

    Attributes:
        done: number of steps done.
        status: content of its ``status.json``.
        seconds_left: estimated seconds for its remaining steps; None while no speed is known.
        resumes_after: step of its newest resume file.
    """

    training: Training
    state: State
    done: int
    status: Mapping[str, Any]
    seconds_left: float | None = None
    resumes_after: int | None = None


@dataclass(frozen=True)
class RunProgress:
    """A run and its progress.

    Attributes:
        state: running, done, failed (a job failed), or stopped (Snakemake died without reporting).
        elapsed: seconds since it began.
        seconds_left: estimated seconds for all its trainings; None while no speed is known.
        files: for each kind of file, how many exist and how many there will be.
    """

    plan: Plan
    state: StateOfRun
    trainings: tuple[TrainingProgress, ...]
    elapsed: float
    seconds_left: float | None
    files: Mapping[str, tuple[int, int]]

    def count(self, *states: State) -> int:
        """Return the number of trainings in these states."""
        return sum(progress.state in states for progress in self.trainings)


def read_progress(plan: Plan, now: datetime) -> RunProgress:
    """Read the progress of a run from its files."""
    states: dict[str, State] = {}
    statuses: dict[str, dict[str, Any]] = {}
    for training in plan.trainings:
        status = read_status(Path(training.folder) / STATUS)
        statuses[training.folder] = status
        states[training.folder] = _state(plan, training, status, states, now)
    step_times = _StepTimes(plan, states, statuses)
    trainings = tuple(
        _progress(training, states[training.folder], statuses[training.folder], step_times)
        for training in plan.trainings
    )
    files = {kind: (sum(map(os.path.isfile, paths)), len(paths)) for kind, paths in plan.files.items()}
    elapsed = ((plan.ended or now) - plan.began).total_seconds()
    return RunProgress(
        plan,
        _state_of_run(plan, trainings),
        trainings,
        elapsed,
        time_left(trainings, plan.side_by_side),
        files,
    )


def _state_of_run(plan: Plan, trainings: Sequence[TrainingProgress]) -> StateOfRun:
    if plan.ended is not None:
        if plan.succeeded:
            return "done"
        states = {progress.state for progress in trainings}
        return "stopped" if "interrupted" in states and "failed" not in states else "failed"
    return "stopped" if plan.host == socket.gethostname() and not _alive(plan.pid) else "running"


def _state(
    plan: Plan,
    training: Training,
    status: Mapping[str, Any],
    states: Mapping[str, State],
    now: datetime,
) -> State:
    if _is_running(status, now):
        return "running"
    checkpoint = Path(training.checkpoint)
    if checkpoint.is_file():
        if plan.succeeded:
            return "done"
        own = checkpoint.stat().st_mtime
        before = [other for other in plan.trainings if other.folder in training.after]
        # A training that was repeated since the run began makes trainings that depend on it outdated.
        made = [Path(other.checkpoint).stat().st_mtime for other in before if states[other.folder] == "done"]
        fresh = all(time <= own or time < plan.began.timestamp() for time in made)
        return "done" if len(made) == len(before) and fresh else "pending"
    if status.get("state") == "failed":
        return "failed"
    return "interrupted" if status.get("state") in ("running", "interrupted") else "pending"


def _is_running(status: Mapping[str, Any], now: datetime) -> bool:
    if status.get("state") != "running":
        return False
    try:
        silent = now - datetime.fromisoformat(status["updated"])
        if status["host"] in (host_name(), socket.gethostname()):
            return silent < SILENT_HERE and _alive(int(status["pid"]))
    except (KeyError, TypeError, ValueError):
        return False
    return silent < SILENT_ELSEWHERE


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _StepTimes:
    """Seconds per step of the trainings whose speed is known."""

    def __init__(
        self, plan: Plan, states: Mapping[str, State], statuses: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.known: dict[Hashable, list[float]] = {}
        for training in plan.trainings:
            status, state = statuses[training.folder], states[training.folder]
            if training.steps == 0:
                continue
            if state == "running" and status.get("speed"):
                step_time = 1 / status["speed"]
            elif state == "done" and status.get("steps") and status.get("seconds"):
                step_time = status["seconds"] / status["steps"]
            else:
                continue
            for key in self._keys(training):
                self.known.setdefault(key, []).append(step_time)

    def of(self, training: Training) -> float | None:
        """Return the mean over equal trainings, else this job in any group, else all GANs or classifiers."""
        for key in self._keys(training):
            if key in self.known:
                return sum(self.known[key]) / len(self.known[key])
        return None

    @staticmethod
    def _keys(training: Training) -> tuple[Hashable, ...]:
        return (training.job, training.group), training.job, Path(training.checkpoint).name


def _progress(
    training: Training, state: State, status: Mapping[str, Any], step_times: _StepTimes
) -> TrainingProgress:
    if state == "done":
        return TrainingProgress(training, state, training.steps, status, 0.0)
    done, resumes_after = 0, None
    if state == "running":
        done = int(status.get("done") or 0)
    elif state in ("interrupted", "failed"):
        done = resumes_after = _newest_resume_file(training)
    is_measured = state == "running" and status.get("speed")
    step_time = 1 / status["speed"] if is_measured else step_times.of(training)
    remaining = training.steps - done
    left = 0.0 if remaining == 0 else None if step_time is None else remaining * step_time
    return TrainingProgress(training, state, done, status, left, resumes_after)


def _newest_resume_file(training: Training) -> int:
    """Return the step of the newest resume file; 0 if there is none."""
    names = (path.stem for path in Path(training.folder).glob("resume/step_*.resume"))
    return max(
        (int(found.group(1)) for name in names if (found := re.fullmatch(r"step_(\d+)", name))), default=0
    )


def time_left(trainings: Sequence[TrainingProgress], side_by_side: int) -> float | None:
    """Estimate the seconds until all trainings are done; None if unknown.

    Args:
        trainings: the trainings, each after those that it waits for.
        side_by_side: number of trainings that run at the same time.
    """
    left: dict[str, float] = {}
    chains: dict[str, float] = {}
    for progress in trainings:
        training, seconds = progress.training, progress.seconds_left
        if seconds is None:
            return None
        left[training.folder] = seconds
        before = [chains[folder] for folder in training.after if folder in chains]
        chains[training.folder] = seconds + max(before, default=0.0)
    return max(sum(left.values()) / max(side_by_side, 1), max(chains.values(), default=0.0))


def now() -> datetime:
    return datetime.now(UTC)
