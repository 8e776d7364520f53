"""Accuracy against cost."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from genifer.config import PlotSettings
from genifer.evaluation import BUDGET_COLUMNS, COLUMNS
from genifer.evaluation.tables import average_incremental_accuracy, read_table
from genifer.report.plots import empty_figure, end_at_ticks, heading, legend_below, set_title
from genifer.report.style import Color, figure_size, method_colors, method_markers, save, set_style

SINGLE_TASK = "a single task: no average over later tasks"


def plot_budget(
    settings: PlotSettings, budget_path: Path, accuracy_path: Path, output: Path, scenario: str = ""
) -> None:
    """Draw budget: average incremental accuracy against minutes and against GAN steps.

    Args:
        budget_path, accuracy_path: budget.csv and accuracy.csv of a run.
        output: folder of the plot.
        scenario: data set and tasks, for the title.
    """
    set_style(settings)
    budget = read_table(budget_path, BUDGET_COLUMNS)
    accuracy = average_incremental_accuracy(read_table(accuracy_path, COLUMNS, needs_rows=True))
    points = budget.merge(accuracy, on=["method", "seed"])
    figure = empty_figure(SINGLE_TASK) if points.empty else _budget(settings, points, scenario)
    save(figure, output / "budget", settings)


def _budget(settings: PlotSettings, points: pd.DataFrame, scenario: str) -> Figure:
    # A series has the colour and marker of its first method in other plots.
    first = points.drop_duplicates("series").set_index("series")["method"]
    of_methods, markers_of_methods = (
        method_colors(points["method"], settings),
        method_markers(points["method"]),
    )
    colors = {str(series): of_methods[method] for series, method in first.items()}
    markers = {str(series): markers_of_methods[method] for series, method in first.items()}
    with_gan = points[points["gan_steps"] > 0]
    panels = 2 if with_gan["gan_steps"].nunique() > 1 else 1
    figure, grid = plt.subplots(
        1,
        panels,
        figsize=figure_size(settings, 6.5 if panels == 1 else 10.5, 4.0, column=panels == 1),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    _panel(grid[0, 0], points, "minutes", colors, markers)
    grid[0, 0].set(
        xlabel="minutes of the method's trainings,\nincluding shared ones",
        ylabel="average incremental accuracy\nover the later tasks (%)",
        ylim=(0, 102),
    )
    longest = points.groupby("method")["minutes"].mean().max()
    end_at_ticks(grid[0, 0].xaxis, 0, 1 if pd.isna(longest) else longest)
    if panels == 2:
        _panel(grid[0, 1], with_gan, "gan_steps", colors, markers)
        for series, others in points[points["gan_steps"] == 0].groupby("series", sort=False):
            grid[0, 1].axhline(100 * others["accuracy"].mean(), color=colors[str(series)], linestyle="--")
        grid[0, 1].set(xlabel="GAN steps over all tasks", xscale="log")
        grid[0, 1].xaxis.set_major_locator(FixedLocator(sorted(with_gan["gan_steps"].unique())))
        grid[0, 1].xaxis.set_minor_locator(NullLocator())
        grid[0, 1].xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps:,.0f}"))
    handles = [
        Line2D([], [], color=color, marker=markers[name], markeredgecolor="white", label=name)
        for name, color in colors.items()
    ]
    set_title(figure, heading("Accuracy against cost", scenario, points["seed"].nunique()))
    legend_below(figure, handles)
    return figure


def _panel(
    axes: Axes, points: pd.DataFrame, column: str, colors: dict[str, Color], markers: dict[str, str]
) -> None:
    """Draw one point per method, connected within a series."""
    for series, of_series in points.groupby("series", sort=False):
        at = of_series.groupby("method", sort=False).agg(
            x=(column, "mean"), mean=("accuracy", "mean"), std=("accuracy", "std")
        )
        at = at.dropna(subset="x").sort_values("x")
        axes.errorbar(
            at["x"],
            100 * at["mean"],
            100 * at["std"] if at["std"].notna().any() else None,
            color=colors[str(series)],
            marker=markers[str(series)],
            markeredgecolor="white",
            markeredgewidth=0.3,
            elinewidth=1,
            clip_on=False,
        )
