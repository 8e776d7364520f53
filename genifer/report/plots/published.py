"""A run's accuracies beside published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from genifer.config import PlotSettings
from genifer.evaluation import COLUMNS
from genifer.evaluation.tables import read_table, summarize
from genifer.published import PUBLISHED_METRICS, Published
from genifer.report.plots import end_at_ticks, heading, legend_below, set_title
from genifer.report.style import MARKERS, Color, figure_size, method_colors, save, set_style

AXIS_NAMES = dict(
    zip(
        PUBLISHED_METRICS,
        (
            "average incremental accuracy\nwithout the first task (%)",
            "average incremental accuracy\nwith the first task (%)",
            "final accuracy (%)",
        ),
        strict=True,
    )
)
GREY = "0.4"


def plot_published(
    settings: PlotSettings,
    published: Sequence[Published],
    accuracy_path: Path,
    output: Path,
    scenario: str = "",
) -> None:
    """Draw published: one panel per metric, one row per figure and per method of the run.

    Args:
        published: published figures that fit the run, at least one.
        accuracy_path: accuracy.csv of the run.
        output: folder of the plot.
        scenario: data set and tasks, for the title.
    """
    set_style(settings)
    accuracy = read_table(accuracy_path, COLUMNS, needs_rows=True)
    save(_beside_published(settings, published, accuracy, scenario), output / "published", settings)


def _beside_published(
    settings: PlotSettings, published: Sequence[Published], accuracy: pd.DataFrame, scenario: str
) -> Figure:
    colors = method_colors(accuracy["method"], settings)
    sources = dict.fromkeys(figure.source for figure in published)
    markers = {source: MARKERS[1 + index % (len(MARKERS) - 1)] for index, source in enumerate(sources)}
    own = summarize(accuracy, {})
    by_metric = {
        metric: [figure for figure in published if figure.metric == metric] for metric in PUBLISHED_METRICS
    }
    shown = {metric: figures for metric, figures in by_metric.items() if figures}
    longest = max(map(len, [*colors, *(figure.method for figure in published)]))
    most = len(own) + max(map(len, shown.values()))
    figure, grid = plt.subplots(
        1,
        len(shown),
        figsize=figure_size(
            settings, len(shown) * (3.2 + 0.08 * longest), 0.9 + 0.27 * most, column=len(shown) == 1
        ),
        layout="constrained",
        squeeze=False,
    )
    for axes, (metric, figures) in zip(grid.flat, shown.items(), strict=True):
        means = own.rename(columns={f"{metric}_mean": "mean", f"{metric}_std": "std"})
        _panel(axes, means[["method", "mean", "std"]].dropna(subset="mean"), figures, colors, markers)
        axes.set_xlabel(AXIS_NAMES[metric])
    set_title(figure, heading("This run beside published figures", scenario, accuracy["seed"].nunique()))
    handles = [Line2D([], [], color="0.2", marker="o", linestyle="none", label="this run")]
    handles += [
        Line2D([], [], color=GREY, marker=marker, markerfacecolor="white", linestyle="none", label=source)
        for source, marker in markers.items()
    ]
    legend_below(figure, handles)
    return figure


def _panel(
    axes: Axes,
    own: pd.DataFrame,
    published: Sequence[Published],
    colors: dict[str, Color],
    markers: dict[str, str],
) -> None:
    """Draw one metric, the best at the top; ``own`` has the columns method, mean and std (shares)."""
    of_run = [(100 * row["mean"], str(row["method"]), row["std"]) for row in own.to_dict("records")]
    rows: list[tuple[float, str, float | Published]] = [
        *of_run,
        *((figure.value, figure.method, figure) for figure in published),
    ]
    rows.sort(key=lambda row: row[0])
    for position, (value, _, about) in enumerate(rows):
        if isinstance(about, Published):
            axes.plot(value, position, color=GREY, marker=markers[about.source], markerfacecolor="white")
        else:
            deviation = 100 * np.nan_to_num(about)
            axes.errorbar(
                value, position, xerr=deviation, color=colors[rows[position][1]], marker="o", capsize=3
            )
        axes.annotate(
            f"{value:.1f}",
            (1, position),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            size="small",
        )
    axes.set_yticks(range(len(rows)), [name.replace("$", r"\$") for _, name, _ in rows])
    for label, (_, name, about) in zip(axes.get_yticklabels(), rows, strict=True):
        if not isinstance(about, Published):
            label.set(color=colors[name], fontweight="bold")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    spread = axes.dataLim.intervalx
    end_at_ticks(axes.xaxis, spread[0], spread[1])
