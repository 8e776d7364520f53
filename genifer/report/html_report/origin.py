"""The origin of a run's results: commit, settings and files."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from genifer.config import RunSettings, plain
from genifer.errors import GeniferError
from genifer.layout import CAPTIONS, PROVENANCE, RECORDS, Layout
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
        path = results / PROVENANCE
        try:
            content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            self._invocations: list[dict[str, Any]] = list(content.get("invocations", []))
            self._environments: dict[str, dict[str, Any]] = dict(content.get("environments", {}))
            self.invocations = [_invocation(entry) for entry in self._invocations]
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise GeniferError(
                f"{path}: cannot be read as the provenance of a run ({error}); restore it with: dvc checkout "
                f"--force {path}; or delete it"
            ) from error

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
    changes = _git("status", "--porcelain", "--untracked-files=no")
    commit = _named(_git("rev-parse", "HEAD"), bool(changes))
    return f"{commit} (when this report was written)" if commit else ""


def _git(*arguments: str) -> str:
    """Return git's output about the checkout; empty without git or without a checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(CAPTIONS.parents[1]), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def settings_text(settings: RunSettings) -> str:
    """Return all settings of a run as the YAML of a run file."""
    return yaml.dump(plain(settings), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line."""


_Dumper.add_representer(
    list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


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
