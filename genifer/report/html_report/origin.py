"""Where a run's results come from: commit, settings and files."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
        link: relative path from the report.
        content: what it holds.
    """

    name: str
    link: str
    content: str


def recorded(layout: Layout) -> dict[str, str]:
    """What ``provenance.json`` states, by full names such as ``git.commit``; nothing if there is none.

    Raises:
        GeniferError: the file is damaged.
    """
    path = Path(layout.results, PROVENANCE)
    try:
        return flat_settings(_by_name(json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise GeniferError(
            f"{path}: cannot be read ({error}); restore it with: dvc checkout {path}; or delete it"
        ) from error


def _by_name(content: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """Mappings as they are, and lists of mappings by their position."""
    pairs = content.items() if isinstance(content, Mapping) else enumerate(content)
    return {
        str(name): _by_name(value) if isinstance(value, Mapping) or _lists_mappings(value) else value
        for name, value in pairs
    }


def _lists_mappings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def commit(provenance: Mapping[str, str]) -> str:
    """The commit of the code: that of the run if it is recorded, or else of the checkout now.

    Args:
        provenance: what `recorded` returns.

    Returns:
        Empty if it is not known.
    """
    for name, value in provenance.items():
        if name.rpartition(".")[2] == "commit" and value != "null":
            return value[:COMMIT_LENGTH]
    head, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    if not head:
        return ""
    changed = ", with uncommitted changes" if changes else ""
    return f"{head[:COMMIT_LENGTH]}{changed} (when this report was written)"


def _git(*arguments: str) -> str:
    """What git says of the checkout; nothing if there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(CAPTIONS.parents[1]), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def settings_text(settings: RunSettings) -> str:
    """All settings of a run as YAML, as a run file would state them."""
    return yaml.dump(plain(settings), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line."""


_Dumper.add_representer(
    list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def files(layout: Layout, page: Path) -> list[File]:
    """The tables of a run and what else describes it, as far as they exist.

    Args:
        page: folder of the report, from which its links lead to files.
    """
    results = Path(layout.results)
    tables = [File(path.name, link(path, page), _columns(path)) for path in sorted(results.glob("*.csv"))]
    return [*tables, *_others(results, page)]


def _others(results: Path, page: Path) -> Iterator[File]:
    for path, content in (
        (results / "metrics", "the summary for DVC, one JSON file per method"),
        (results / "plots", "the plots"),
        (results / "jobs", "checkpoints, scalars and logs of all trainings"),
        (results / PROVENANCE, "code, versions and machine that the run was made with"),
        (results / RECORDS, "how Snakemake made each file: rule, settings, checksums of inputs"),
    ):
        if path.exists():
            yield File(f"{path.name}/" if path.is_dir() else path.name, link(path, page), content)


def _columns(path: Path) -> str:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        return f"{sum(1 for _ in rows)} rows: {', '.join(header)}"
