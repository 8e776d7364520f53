"""The plan of a run: ``plan.json`` in its folder, which the workflow writes when it starts."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genifer.config import SHARED
from genifer.errors import GeniferError
from genifer.layout import PLAN, Layout, PlannedJob
from genifer.runtime.files import atomic_write
from genifer.versions import TRAIN


@dataclass(frozen=True)
class Training:
    """A training of the run.

    Attributes:
        group: the job's group; see `genifer.layout`.
        steps: number of steps; 0 if a method only computes its memory.
        folder: the job's folder.
        checkpoint: the file that exists when the training is done.
        after: folders of the trainings that it waits for.
    """

    job: str
    seed: int
    task: int
    group: str
    steps: int
    folder: str
    checkpoint: str
    after: tuple[str, ...]

    @property
    def name(self) -> str:
        """The job, with its group unless that follows from the job's name."""
        is_obvious = self.group in (SHARED, self.job.removeprefix(TRAIN))
        return self.job if is_obvious else f"{self.job} ({self.group})"

    @property
    def title(self) -> str:
        return f"{self.name} task {self.task} seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A run: its trainings in order, and its other files by kind.

    Attributes:
        side_by_side: number of trainings that run at the same time.
        host, pid: machine and process id of the Snakemake process that runs it.
        began: when it began.
        ended: when it ended; None while it is running.
        succeeded: whether it ended with all results.
    """

    run: str
    trainings: tuple[Training, ...]
    files: Mapping[str, Sequence[str]]
    side_by_side: int
    host: str
    pid: int
    began: datetime
    ended: datetime | None = None
    succeeded: bool = False


def write_plan(layout: Layout, side_by_side: int) -> None:
    """Write the plan of a run that begins now, in this process.

    Args:
        side_by_side: number of trainings that run at the same time.
    """
    evaluations = [*layout.evaluations, *layout.replay_evaluations]
    content = {
        "run": layout.settings.run,
        "trainings": [asdict(training) for training in planned_trainings(layout)],
        "files": {
            "data": layout.prepared,
            "evaluations": [next(iter(job.outputs.values())) for job in evaluations],
            "tables and plots": layout.final,
        },
        "side_by_side": side_by_side,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "began": datetime.now(UTC).isoformat(),
        "ended": None,
        "succeeded": False,
    }
    _write(Path(layout.results) / PLAN, content)


def planned_trainings(layout: Layout) -> list[Training]:
    """Return the trainings of a run by seed and task, each after those that it waits for."""

    def planned(job: PlannedJob) -> Training:
        return Training(
            job=job.name,
            seed=job.seed,
            task=job.task,
            group=job.group,
            steps=job.steps,
            folder=job.folder,
            checkpoint=job.checkpoint,
            after=tuple(before.folder for before in layout.trained_before(job)),
        )

    # Sorting is stable: trainings of one seed and task stay in the order of the graph.
    return sorted(map(planned, layout.trainings), key=lambda training: (training.seed, training.task))


def end_plan(results: Path, succeeded: bool) -> None:
    """Record in the plan that a run has ended.

    Args:
        results: the run's folder.
        succeeded: whether it ended with all results.
    """
    path = results / PLAN
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        _write(path, content | {"ended": datetime.now(UTC).isoformat(), "succeeded": succeeded})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_plan(results: Path) -> Plan:
    """Read the plan of a run.

    Args:
        results: the run's folder.

    Raises:
        GeniferError: there is no plan, or it cannot be read.
    """
    path = results / PLAN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        trainings = [
            Training(**training | {"after": tuple(training["after"])}) for training in content["trainings"]
        ]
        began, ended = (
            None if content[name] is None else datetime.fromisoformat(content[name])
            for name in ("began", "ended")
        )
        assert began is not None
        return Plan(
            **content | {"run": results.name, "trainings": tuple(trainings), "began": began, "ended": ended}
        )
    except FileNotFoundError:
        raise GeniferError(f"{path}: does not exist; Snakemake writes it when the run starts") from None
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise GeniferError(
            f"{path}: cannot be read as the plan of a run ({error}); start the run again with Snakemake, "
            "which writes a new one"
        ) from error
