"""The origin of a run's results: commit, settings and files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from genifer.layout import CAPTIONS, PROVENANCE, RECORDS, Layout
from genifer.provenance.environment import source_of
from genifer.provenance.invocations import read_provenance
from genifer.report.html_report.pictures import link
from genifer.run_file import flat_settings

COMMIT_LENGTH = 10


@dataclass(frozen=True)
class File:
    """A file of the run.

    Attributes:
        link: path relative to the report.
        content: description of its content.
    """

    name: str
    link: str
    content: str


@dataclass(frozen=True)
class Invocation:
    """An invocation of Snakemake that made a part of the run."""

    began: str
    ended: str
    command: str
    commit: str
    jobs: int


class Provenance:
    """Content of ``provenance.json`` in a run's folder; empty without that file.

    Raises:
        GeniferError: the file is damaged.
    """

    def __init__(self, results: Path) -> None:
        content = read_provenance(results) or {"invocations": [], "environments": {}}
        self._invocations: list[dict[str, Any]] = content["invocations"]
        self._environments: dict[str, dict[str, Any]] = content["environments"]
        self.invocations = [_invocation(entry) for entry in self._invocations]

    @property
    def commit(self) -> str:
        """The commit of the last invocation, or else of the current checkout; empty if unknown."""
        recorded = self.invocations[-1].commit if self.invocations else ""
        return recorded or _commit_now()

    @property
    def environment(self) -> dict[str, str]:
        """Name and value of each recorded property of the last invocation's machine and packages."""
        key = self._invocations[-1].get("environment") if self._invocations else None
        return flat_settings(self._environments.get(str(key), {}))


def _invocation(entry: Mapping[str, Any]) -> Invocation:
    source = entry.get("source") or {}
    return Invocation(
        began=_time(entry.get("began")),
        ended=_time(entry.get("ended")),
        command=str(entry.get("command") or ""),
        commit=_named(source.get("commit"), source.get("clean") is False),
        jobs=sum((entry.get("jobs") or {}).values()),
    )


def _time(text: Any) -> str:
    return f"{datetime.fromisoformat(text):%-d %B %Y, %H:%M}" if text else ""


def _named(commit: str | None, changed: bool) -> str:
    if not commit:
        return ""
    return f"{commit[:COMMIT_LENGTH]}{', with uncommitted changes' if changed else ''}"


def _commit_now() -> str:
    source = source_of(CAPTIONS.parents[1])
    commit = _named(source["commit"], source.get("clean") is False)
    return f"{commit} (when this report was written)" if commit else ""


def files(layout: Layout, page: Path) -> list[File]:
    """Return the tables of a run and the files that describe it, as far as they exist.

    Args:
        page: folder of the report, to which links are relative.
    """
    results = Path(layout.results)
    tables = [File(path.name, link(path, page), _columns(path)) for path in sorted(results.glob("*.csv"))]
    return [*tables, *_others(results, page)]


def _others(results: Path, page: Path) -> Iterator[File]:
    for path, content in (
        (results / "metrics", "the summary for DVC, one JSON file per method"),
        (results / "plots", "the plots"),
        (results / "jobs", "checkpoints, scalars and logs of all trainings"),
        (results / PROVENANCE, "code, versions and machine with which the run was made"),
        (results / RECORDS, "how Snakemake made each file: rule, settings, checksums of inputs"),
    ):
        if path.exists():
            yield File(f"{path.name}/" if path.is_dir() else path.name, link(path, page), content)


def _columns(path: Path) -> str:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        return f"{sum(1 for _ in rows)} rows: {', '.join(header)}"
