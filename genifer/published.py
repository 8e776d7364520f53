"""Published accuracies: reading the file named by ``plots.published``, and selecting those that fit a run."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from genifer.config import RunSettings
from genifer.errors import GeniferError
from genifer.evaluation import METRICS
from genifer.task_sizes import parse_tasks

PUBLISHED_COLUMNS = ("method", "data_set", "tasks", "metric", "definition", "value", "source")

PUBLISHED_METRICS = tuple(name for name in METRICS if "accuracy" in name)
"""Metrics that a published figure may have."""


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes:
        data_set: its name in ``data.dataset``.
        scenario: sizes of the tasks as written in the file, such as ``50 + 5 x 10``.
        tasks: the same as a number of new classes per task.
        metric: one of `PUBLISHED_METRICS`.
        definition: definition of the metric, as far as the source gives it.
        value: in per cent.
    """

    method: str
    data_set: str
    scenario: str
    tasks: tuple[int, ...]
    metric: str
    definition: str
    value: float
    source: str


def fitting(settings: RunSettings) -> list[Published]:
    """Return the published figures for a run's data set and sizes of tasks.

    There are none for a run that is evaluated on validation images.

    Raises:
        GeniferError: see `read_published`.
    """
    if settings.plots.published is None or settings.evaluation.split != "test":
        return []
    return [
        figure
        for figure in read_published(settings.plots.published)
        if figure.data_set == settings.data.dataset and list(figure.tasks) == settings.scenario.tasks
    ]


def read_published(path: Path) -> list[Published]:
    """Read a CSV file of published accuracies, one figure per row.

    Raises:
        GeniferError: the file cannot be read, lacks a column, or a value is not allowed.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [name for name in PUBLISHED_COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise GeniferError(
                    f"plots.published: {path} has no column {', '.join(missing)}; it needs "
                    f"{', '.join(PUBLISHED_COLUMNS)}, and one row per figure "
                    "(docs/published.csv is an example)"
                )
            return [_figure(row, f"plots.published: {path}, line {rows.line_num}") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GeniferError(
            f"plots.published: {path} cannot be read as a CSV file ({error}); give the path of one, relative "
            f"to {Path.cwd()}, or null"
        ) from error


def _figure(row: dict[str, str | None], where: str) -> Published:
    if None in row:
        raise GeniferError(f"{where}: has more cells than there are columns; put text with commas in quotes")
    cells = {name: (row[name] or "").strip() for name in PUBLISHED_COLUMNS}

    def refuse(name: str, allowed: str) -> GeniferError:
        value = f"'{cells[name]}'" if cells[name] else "empty"
        return GeniferError(f"{where}: {name} is {value}; it must be {allowed}")

    for name, allowed in (
        ("method", "the method's name in the source"),
        ("data_set", "a name as in data.dataset, such as cifar100"),
        ("source", "what readers need to find the figure, such as a paper and its table"),
    ):
        if not cells[name]:
            raise refuse(name, allowed)
    if cells["metric"] not in PUBLISHED_METRICS:
        raise refuse("metric", f"one of {', '.join(PUBLISHED_METRICS)}")
    try:
        tasks = tuple(parse_tasks(cells["tasks"]))
    except ValueError:
        raise refuse("tasks", "sizes of tasks, such as '50 + 5 x 10' or '10 x 10'") from None
    try:
        value = float(cells["value"])
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 100:
        raise refuse("value", "a percentage from 0 to 100")
    return Published(
        cells["method"],
        cells["data_set"],
        cells["tasks"],
        tasks,
        cells["metric"],
        cells["definition"],
        value,
        cells["source"],
    )
