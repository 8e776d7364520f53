"""Jobs as lines of text."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGET = "all"
"""The rule that only collects the files of the others."""

NAME_WIDTH, LABEL_WIDTH = 25, 41

TOLD_BY_RULE = "shared"
"""Group of the trainings that methods share."""


@dataclass(frozen=True)
class Job:
    """A job that Snakemake has started, or would start in a dry run.

    Attributes:
        number: Snakemake's job id.
        outputs: files that the job makes; with a storage's prefix if they are to be stored.
        logs: the job's own log first, if it has one, then those of the executor.
        began: start in seconds since the epoch.
    """

    number: int
    rule: str
    wildcards: Mapping[str, str]
    outputs: frozenset[str]
    logs: tuple[Path, ...]
    began: float

    @classmethod
    def of(cls, record: logging.LogRecord) -> Job:
        """Return the job that a log record of Snakemake describes."""
        said = vars(record)
        benchmark = said.get("benchmark")
        outputs, logs = (
            [str(path).partition(" (")[0] for path in paths or ()]
            for paths in ([*(said.get("output") or ()), *([benchmark] if benchmark else [])], said.get("log"))
        )
        return cls(
            number=int(said.get("jobid", -1)),
            rule=str(said.get("rule_name", "")),
            wildcards={name: str(value) for name, value in dict(said.get("wildcards") or {}).items()},
            outputs=frozenset(outputs),
            logs=tuple(map(Path, logs)),
            began=record.created,
        )

    @property
    def name(self) -> str:
        """The rule, followed by the job's group if the rule does not imply it."""
        group = self.wildcards.get("group", TOLD_BY_RULE)
        told = group == TOLD_BY_RULE or self.rule.endswith(f"train_{group}")
        return self.rule.replace("_", " ") + ("" if told else f" ({group})")

    @property
    def label(self) -> str:
        """Name, task and seed, which identify the job within a run."""
        where = [f"{name} {self.wildcards[name]}" for name in ("task", "seed") if name in self.wildcards]
        return "  ".join([f"{self.name:{NAME_WIDTH}}", *where]).rstrip()

    def finished(self, now: float) -> str:
        """Return the line of a finished job."""
        return "  ".join([f"{self.label:{LABEL_WIDTH}}", f"{seconds(now - self.began):>8}", *self._scalars()])

    def running(self, now: float) -> str:
        """Return the line of a running job."""
        status = self._status()
        step = []
        if preparation := status.get("preparation"):
            step = ["preparation {}/{}".format(*preparation)]
        elif status.get("steps"):
            step = [f"step {status['done']}/{status['steps']}"]
        return "  ".join([self.label, seconds(now - self.began), *step, *self._scalars()])

    @property
    def was_interrupted(self) -> bool:
        """Whether the job is a training that was asked to stop."""
        return self._status().get("state") == "interrupted"

    def end_of_log(self, count: int) -> list[str]:
        """Return the error message or else the last lines of the log; empty if there is no log yet."""
        lines: list[str] = []
        for log in self.logs[:1]:
            with contextlib.suppress(OSError):
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        messages = [place for place, line in enumerate(lines) if line.startswith("genifer:")]
        return lines[messages[-1] if messages else -count :]

    def _status(self) -> dict[str, Any]:
        """Return the content of a training's status file; empty for other jobs."""
        from genifer.runtime.status import STATUS, read_status

        status = read_status(self.logs[0].with_name(STATUS)) if self.logs else {}
        # An earlier training may have left its status in the same folder.
        return status if self.rule.endswith(str(status.get("job", "-"))) else {}

    def _scalars(self) -> list[str]:
        """Return the first two of the scalars that `genifer watch` prefers."""
        from genifer.monitor.watch.view import SCALARS

        scalars = self._status().get("scalars") or {}
        return [f"{name} {scalars[name]:.3g}" for name in SCALARS if name in scalars][:2]


def seconds(time: float) -> str:
    return f"{time:.0f} s" if time < 100 else clock(time)


def clock(time: float) -> str:
    """Format seconds as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(time), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
