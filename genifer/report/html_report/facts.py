"""The table of methods and the facts at the top of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from genifer.evaluation import METRIC_NAMES, SUMMARY_COLUMNS
from genifer.evaluation.tables import read_table, with_deviation
from genifer.layout import Layout
from genifer.provenance.snakemake_records import times
from genifer.report.captions import Captions
from genifer.report.html_report.texts import html
from genifer.report.style import method_colors

OPENING = ("average_incremental_accuracy", "final_accuracy", "forgetting")
"""Metrics of the table at the top; a table further down has all."""


@dataclass(frozen=True)
class Row:
    """A method in the table at the top.

    Attributes:
        color: its colour in all plots, as CSS.
    """

    method: str
    color: str
    cells: Sequence[str]


def method_rows(layout: Layout) -> tuple[list[str], list[Row]]:
    """Return metrics in per cent and minutes of each method, in the order of the run file.

    Returns:
        Column headings, without that of the method, and rows.

    Raises:
        GeniferError: a table is missing or damaged.
    """
    summary = read_table(Path(layout.table("summary")), SUMMARY_COLUMNS, needs_rows=True)
    by_label = {row["method"]: row for row in summary.to_dict("records")}
    minutes = _minutes(Path(layout.table("budget")))
    colors = method_colors(layout.labels, layout.settings.plots)
    headings = [*(METRIC_NAMES[name] for name in OPENING), *(["minutes"] if minutes else [])]
    rows = []
    for label in [label for label in layout.labels if label in by_label]:
        row = by_label[label]
        cells = [with_deviation(row[f"{name}_mean"], row[f"{name}_std"], "±") for name in OPENING]
        if minutes:
            cells.append(minutes.get(label, ""))
        red, green, blue = (round(255 * part) for part in colors[label])
        rows.append(Row(label, f"rgb({red} {green} {blue})", cells))
    return headings, rows


def _minutes(path: Path) -> dict[str, str]:
    """Return mean minutes over the seeds by method; empty if the table is missing."""
    if not path.is_file():
        return {}
    means = read_table(path, ["method", "minutes"]).groupby("method")["minutes"].mean().dropna()
    return {str(method): f"{mean:.1f}" for method, mean in means.items()}


def facts(layout: Layout, captions: Captions, commit: str) -> list[tuple[str, Markup]]:
    """Return name and text of the facts at the top: data set, scenario, date, commit, cost, machine.

    Args:
        commit: commit of the code; empty if unknown.
    """
    settings = layout.settings
    channels = {1: "grey", 3: "RGB"}[settings.data.channels]
    size = settings.data.image_size
    known = {
        "Data set": escape(
            f"{settings.data.dataset}, {size} x {size} px, {channels}; evaluated on {captions.n_images} "
            f"{captions.split} images"
        ),
        "Scenario": html(f"{captions.scenario}; {captions.class_order}, {captions.named_seeds}"),
        "Date": escape(_dates(layout)),
        "Commit": escape(commit),
        "Cost": html(
            f"{captions.total_time} in {captions.n_jobs} jobs, the longest: {captions.longest_job}; "
            f"peak memory of a job {captions.peak_memory}"
        ),
        "Machine": html(f"{captions.machines}; precision {captions.precisions}"),
    }
    return [(name, text) for name, text in known.items() if text]


def _dates(layout: Layout) -> str:
    """Return when the run's first and last files were made; empty if that is not recorded."""
    recorded = times(Path(layout.results))
    if recorded is None:
        return ""
    began, ended = recorded
    if began.date() == ended.date():
        return f"{began:%-d %B %Y, %H:%M} to {ended:%H:%M} UTC"
    return f"{began:%-d %B %Y} to {ended:%-d %B %Y}"
