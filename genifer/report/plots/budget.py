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
from genifer.report.plots import legend_below, method_colors, save, seeds_note, set_style, set_title


def plot_budget(settings: PlotSettings, budget_path: Path, accuracy_path: Path, output: Path) -> None:
    """Draw budget, as PNG and SVG: average incremental accuracy against minutes and against GAN steps.

    Args:
        budget_path, accuracy_path: budget.csv and accuracy.csv of a run.
        output: folder of the plot.
    """
    set_style(settings)
    budget = read_table(budget_path, BUDGET_COLUMNS)
    accuracy = average_incremental_accuracy(read_table(accuracy_path, COLUMNS, needs_rows=True))
    save(_budget(settings, budget.merge(accuracy, on=["method", "seed"])), output / "budget", settings)


def _budget(settings: PlotSettings, points: pd.DataFrame) -> Figure:
    colors = method_colors(points["series"], settings)
    with_gan = points[points["gan_steps"] > 0]
    panels = 2 if with_gan["gan_steps"].nunique() > 1 else 1
    figure, grid = plt.subplots(
        1,
        panels,
        figsize=(6.5 if panels == 1 else 10.5, 4.0),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    _panel(grid[0, 0], points, "minutes", colors)
    grid[0, 0].set(
        xlabel="minutes of the method's trainings, those it shares included",
        ylabel="average incremental accuracy\nover the later tasks (%)",
        xlim=(0, None),
        ylim=(0, None),
    )
    if panels == 2:
        _panel(grid[0, 1], with_gan, "gan_steps", colors)
        for series, others in points[points["gan_steps"] == 0].groupby("series", sort=False):
            grid[0, 1].axhline(100 * others["accuracy"].mean(), color=colors[str(series)], linestyle="--")
        grid[0, 1].set(xlabel="GAN steps over all tasks", xscale="log")
        grid[0, 1].xaxis.set_major_locator(FixedLocator(sorted(with_gan["gan_steps"].unique())))
        grid[0, 1].xaxis.set_minor_locator(NullLocator())
        grid[0, 1].xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps:,.0f}"))
    handles = [Line2D([], [], color=color, marker="o", label=name) for name, color in colors.items()]
    set_title(figure, f"Accuracy against cost ({seeds_note(points['seed'].nunique())})")
    legend_below(figure, handles)
    return figure


def _panel(
    axes: Axes, points: pd.DataFrame, column: str, colors: dict[str, tuple[float, float, float]]
) -> None:
    """One point per method, joined within a series."""
    for series, of_series in points.groupby("series", sort=False):
        at = of_series.groupby("method", sort=False).agg(
            x=(column, "mean"), mean=("accuracy", "mean"), std=("accuracy", "std")
        )
        at = at.dropna(subset="x").sort_values("x")
        deviation = 100 * at["std"].fillna(0)
        axes.errorbar(at["x"], 100 * at["mean"], deviation, color=colors[str(series)], marker="o", capsize=3)
