"""Published figures: files of them for tests, and the tables of docs/published.csv in the documents.

In a document ``<!-- published: TASKS of DATA SET -->`` stands before such a table.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from genifer.evaluation import METRIC_NAMES
from genifer.published import PUBLISHED_COLUMNS, PUBLISHED_METRICS, read_published
from support.commands import ROOT

PUBLISHED = ROOT / "docs" / "published.csv"
PUBLISHED_MARK = "<!-- published:"
PUBLISHED_TABLE = re.compile(r"(?<=<!-- published: )(.+) of (\w+) -->\n+((?:\|.*\n)*)\n*")


def write_published(path: Path, *rows: list[str]) -> Path:
    """Write a file of published figures; each row has the cells of `PUBLISHED_COLUMNS`."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([PUBLISHED_COLUMNS, *rows])
    return path


def with_published_tables(text: str) -> str:
    """A document with its tables of published figures made anew."""
    return PUBLISHED_TABLE.sub(
        lambda found: f"{found[1]} of {found[2]} -->\n\n{_table(found[1], found[2])}\n", text
    )


def _table(scenario: str, data_set: str) -> str:
    """One row per method and source, one column per metric that any of them has."""
    figures = [
        one for one in read_published(PUBLISHED) if (one.scenario, one.data_set) == (scenario, data_set)
    ]
    metrics = [name for name in PUBLISHED_METRICS if any(one.metric == name for one in figures)]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in figures:
        rows.setdefault((one.method, one.source), {})[one.metric] = f"{one.value:.1f}"
    lines = [["method", *(METRIC_NAMES[name] for name in metrics), "source"], ["---"] * (len(metrics) + 2)]
    lines += [
        [method, *(values.get(name, "") for name in metrics), source]
        for (method, source), values in rows.items()
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
