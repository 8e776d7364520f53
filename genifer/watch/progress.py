"""How far a run is, and how long it will take, from its plan and what its stages write."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from genifer.runtime.status import STATUS, read_status
from genifer.watch.plan import Plan, Training

State = Literal["done", "running", "interrupted", "failed", "to come"]

SILENT_HERE = timedelta(minutes=10)
SILENT_ELSEWHERE = timedelta(minutes=5)
"""A stage that has written no status for so long is not running: where its process can be looked for, and
where it cannot."""


@dataclass(frozen=True)
class Seen:
    """A training as it stands.

    Attributes:
        seconds_left: of its own steps; None where nothing is known of its speed.
        goes_on_from: step of its newest resume file.
    """

    training: Training
    state: State
    done: int
    status: Mapping[str, Any]
    seconds_left: float | None = None
    goes_on_from: int | None = None


@dataclass(frozen=True)
class RunSeen:
    """A run as it stands.

    Attributes:
        state: running, done, failed (a job did), or stopped (Snakemake has gone without a word).
        seconds_left: of all trainings; None where nothing is known.
        files: of each kind, how many there are and how many there will be.
    """

    plan: Plan
    state: Literal["running", "done", "failed", "stopped"]
    trainings: tuple[Seen, ...]
    elapsed: float
    seconds_left: float | None
    files: Mapping[str, tuple[int, int]]

    def count(self, *states: State) -> int:
        return sum(seen.state in states for seen in self.trainings)


def look(plan: Plan, now: datetime) -> RunSeen:
    """Look at a run's files."""
    states: dict[str, State] = {}
    statuses: dict[str, dict[str, Any]] = {}
    for training in plan.trainings:
        status = read_status(Path(training.folder) / STATUS)
        statuses[training.folder] = status
        states[training.folder] = _state(plan, training, status, states, now)
    pace = _seconds_a_step(plan, states, statuses)
    seen = tuple(
        _seen(training, states[training.folder], statuses[training.folder], pace)
        for training in plan.trainings
    )
    files = {kind: (sum(map(os.path.isfile, paths)), len(paths)) for kind, paths in plan.files.items()}
    state: Literal["running", "done", "failed", "stopped"] = "running"
    if plan.ended is not None:
        state = "done" if plan.succeeded else "failed"
    elif plan.host == socket.gethostname() and not _alive(plan.pid):
        state = "stopped"
    elapsed = ((plan.ended or now) - plan.began).total_seconds()
    return RunSeen(plan, state, seen, elapsed, time_left(seen, plan.side_by_side), files)


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
        # What was made again since the run began makes what follows from it old.
        made = [Path(other.checkpoint).stat().st_mtime for other in before if states[other.folder] == "done"]
        fresh = all(time <= own or time < plan.began.timestamp() for time in made)
        if len(made) == len(before) and fresh:
            return "done"
        return "to come"
    if status.get("state") == "failed":
        return "failed"
    return "interrupted" if status.get("state") in ("running", "interrupted") else "to come"


def _is_running(status: Mapping[str, Any], now: datetime) -> bool:
    if status.get("state") != "running":
        return False
    try:
        silent = now - datetime.fromisoformat(status["updated"])
        if status["host"] == socket.gethostname():
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


def _seconds_a_step(
    plan: Plan, states: Mapping[str, State], statuses: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """Of each stage of which something is known, and of its kin: the GANs, and the classifiers."""
    known: dict[str, list[float]] = {}
    for training in plan.trainings:
        status = statuses[training.folder]
        if states[training.folder] == "running" and status.get("speed"):
            known.setdefault(training.stage, []).append(1 / status["speed"])
        elif states[training.folder] == "done" and status.get("steps") and status.get("seconds"):
            known.setdefault(training.stage, []).append(status["seconds"] / status["steps"])
    pace = {stage: sum(values) / len(values) for stage, values in known.items()}
    for training in plan.trainings:
        if training.stage not in pace:
            kin = [pace[stage] for stage in known if stage.endswith("gan") == training.stage.endswith("gan")]
            if kin:
                pace[training.stage] = sum(kin) / len(kin)
    return pace


def _seen(training: Training, state: State, status: Mapping[str, Any], pace: Mapping[str, float]) -> Seen:
    if state == "done":
        return Seen(training, state, training.steps, status, 0.0)
    goes_on_from = None
    done = 0
    if state == "running":
        done = int(status.get("done") or 0)
    elif state in ("interrupted", "failed"):
        steps = [
            int(found.group(1))
            for path in Path(training.folder).glob("resume/step_*.resume")
            if (found := re.fullmatch(r"step_(\d+)", path.stem))
        ]
        goes_on_from = max(steps, default=0)
        done = goes_on_from
    a_step = 1 / status["speed"] if state == "running" and status.get("speed") else pace.get(training.stage)
    left = None if a_step is None else (training.steps - done) * a_step
    return Seen(training, state, done, status, left, goes_on_from)


def time_left(trainings: Sequence[Seen], side_by_side: int) -> float | None:
    """Seconds until all trainings are done, so many at once, each after those that it waits for."""
    if any(seen.seconds_left is None for seen in trainings):
        return None
    left = {seen.training.folder: seen.seconds_left or 0.0 for seen in trainings}
    chains: dict[str, float] = {}
    for seen in trainings:
        before = [chains[folder] for folder in seen.training.after if folder in chains]
        chains[seen.training.folder] = left[seen.training.folder] + max(before, default=0.0)
    return max(sum(left.values()) / max(side_by_side, 1), max(chains.values(), default=0.0))


def now() -> datetime:
    return datetime.now(UTC)
