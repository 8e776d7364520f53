"""What a run is going to do: ``results/<run>/plan.json``, which the workflow writes when it starts."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genifer.config import RunSettings
from genifer.errors import GeniferError
from genifer.runtime.files import whole_file

PLAN = "plan.json"


@dataclass(frozen=True)
class Training:
    """A training of the run.

    Attributes:
        folder: of the stage.
        checkpoint: the file that is there when it is done.
        after: folders of the trainings that it waits for.
    """

    stage: str
    seed: int
    task: int
    steps: int
    folder: str
    checkpoint: str
    after: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.stage} task {self.task} seed {self.seed}"


def planned_trainings(settings: RunSettings, folders: Sequence[str]) -> list[Training]:
    """The trainings in the folders of stages, each with those that it waits for, task by task.

    Args:
        folders: ``.../seed_<s>/first_task/<stage>`` or ``.../seed_<s>/<method>/task_<t>/<stage>``.
    """
    first = settings.start.task
    trainings = []
    for folder in folders:
        path = Path(folder)
        stage, shared = path.name, path.parts[-2] == "first_task"
        task = first if shared else int(path.parts[-2].removeprefix("task_"))
        of_seed = path.parents[1] if shared else path.parents[2]

        def classifier(method: str, task: int, of_seed: Path = of_seed) -> Path:
            if task == first:
                return of_seed / "first_task" / "pretrain_classifier"
            return of_seed / method / f"task_{task}" / f"train_{method}"

        def gan(task: int, of_seed: Path = of_seed) -> Path:
            if task == first:
                return of_seed / "first_task" / "pretrain_gan"
            return of_seed / "genifer" / f"task_{task}" / "train_gan"

        match stage:
            case "pretrain_classifier":
                before, steps = [], settings.pretrain_classifier.steps
            case "pretrain_gan":
                before, steps = [classifier("genifer", first)], settings.pretrain_gan.steps
            case "train_gan":
                before, steps = [classifier("genifer", task), gan(task - 1)], settings.train_gan.steps
            case _:
                method = stage.removeprefix("train_")
                before = [classifier(method, task - 1)]
                if method == "genifer":
                    before.append(gan(task - 1))
                steps = getattr(settings, method).steps
        made = "gan" if stage.endswith("gan") else "classifier"
        trainings.append(
            Training(
                stage=stage,
                seed=int(of_seed.name.removeprefix("seed_")),
                task=task,
                steps=steps,
                folder=folder,
                checkpoint=f"{folder}/{made}.safetensors",
                after=tuple(str(path) for path in before if str(path) in folders),
            )
        )
    return sorted(trainings, key=lambda training: (training.seed, training.task))


@dataclass(frozen=True)
class Plan:
    """A run: its trainings in order, and its other files by what they are.

    Attributes:
        side_by_side: how many trainings run at once.
        host, pid: of the Snakemake that runs it.
        ended: when it ended; None while it is under way.
        succeeded: whether it then had all it wanted.
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


def write_plan(
    results: Path, trainings: Sequence[Training], files: Mapping[str, Sequence[str]], side_by_side: int
) -> None:
    """Write the plan of a run that begins now.

    Args:
        results: the run's folder.
    """
    content = {
        "run": results.name,
        "trainings": [asdict(training) for training in trainings],
        "files": {kind: list(paths) for kind, paths in files.items()},
        "side_by_side": side_by_side,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "began": datetime.now(UTC).isoformat(),
        "ended": None,
        "succeeded": False,
    }
    _write(results / PLAN, content)


def end_plan(results: Path, succeeded: bool) -> None:
    """Note that the run has ended."""
    path = results / PLAN
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        _write(path, content | {"ended": datetime.now(UTC).isoformat(), "succeeded": succeeded})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_plan(results: Path) -> Plan:
    """The plan of a run.

    Raises:
        GeniferError: there is none, or it cannot be read.
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
        raise GeniferError(f"{path}: is not there; the workflow writes it when the run starts") from None
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise GeniferError(
            f"{path}: cannot be read as the plan of a run ({error}); the workflow writes it when it starts"
        ) from error
