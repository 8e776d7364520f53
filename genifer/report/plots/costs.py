"""Time of each method and of each kind of job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genifer.config import PlotSettings
from genifer.evaluation import BUDGET_COLUMNS, COST_COLUMNS
from genifer.evaluation.costs import cost_by_job
from genifer.evaluation.tables import read_table
from genifer.report.phrases import device_name, listed, over_seeds
from genifer.report.plots import empty_figure, end_at_ticks, set_title, wrapped
from genifer.report.style import Color, figure_size, method_colors, save, set_style
from genifer.runtime.durations import span

UNITS = ((7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
"""Units of time: the smallest value in seconds to show in it, its length in seconds, its name."""

GREY_BAR = (0.6, 0.6, 0.6)


def plot_costs(settings: PlotSettings, costs_path: Path, budget_path: Path, output: Path) -> None:
    """Draw costs: the time of each method's trainings, and of all jobs by kind.

    Args:
        costs_path, budget_path: costs.csv and budget.csv of a run.
        output: folder of the plot.
    """
    set_style(settings)
    costs, budget = read_table(costs_path, COST_COLUMNS), read_table(budget_path, BUDGET_COLUMNS)
    save(_times(settings, costs, budget), output / "costs", settings)


def _times(settings: PlotSettings, costs: pd.DataFrame, budget: pd.DataFrame) -> Figure:
    if costs.empty:
        return empty_figure("no job has recorded its time")
    jobs = cost_by_job(costs.assign(method=""), by_task=False)  # of all groups together
    devices = [device_name(device) for device in dict.fromkeys(costs["device"])]
    labels = [
        f"{job} ({device_name(device)})" if len(devices) > 1 else str(job)
        for job, device in zip(jobs["label"], jobs["device"], strict=True)
    ]
    title = f"Time of all jobs by kind ({over_seeds(costs['seed'].nunique() or 1, 'sums')})"
    parts = [(title, labels, list(jobs["seconds"]), [GREY_BAR] * len(jobs))]
    of_methods = 60 * budget.groupby("method", sort=False)["minutes"].mean().dropna()
    if len(of_methods):
        colors = method_colors(budget["method"], settings)
        methods = [str(method) for method in of_methods.index]
        title = f"Training time by method, with shared jobs ({over_seeds(budget['seed'].nunique(), 'means')})"
        parts.insert(0, (title, methods, list(of_methods), [colors[method] for method in methods]))
    longest = max(len(label) for _, labels, _, _ in parts for label in labels)
    rows = [len(labels) for _, labels, _, _ in parts]
    figure, grid = plt.subplots(
        len(parts),
        1,
        figsize=figure_size(settings, 6 + 0.08 * longest, 0.27 * sum(rows) + 0.9 * len(parts)),
        height_ratios=[count + 0.5 for count in rows],
        layout="constrained",
        squeeze=False,
    )
    for axes, (title, labels, seconds, bars) in zip(grid[:, 0], parts, strict=True):
        _bars(axes, labels, seconds, bars)
        axes.set_title(wrapped(title, 0.75 * figure.get_figwidth()))
    set_title(figure, f"Total time: {span(costs['seconds'].sum())} in {len(costs)} jobs ({listed(devices)})")
    return figure


def _bars(axes: Axes, labels: Sequence[str], seconds: Sequence[float], colors: Sequence[Color]) -> None:
    """Draw one bar per label, followed by its time."""
    longest = max(seconds)
    divisor, unit = next((divisor, unit) for least, divisor, unit in UNITS if longest >= least)
    axes.barh(range(len(labels)), [value / divisor for value in seconds], color=colors, linewidth=0)
    for position, value in enumerate(seconds):
        axes.text(value / divisor, position, f" {span(value)}", va="center", size="small")
    axes.set_yticks(range(len(labels)), list(labels))
    end_at_ticks(axes.xaxis, 0, 1.12 * longest / divisor)
    axes.set(ylim=(len(labels) - 0.5, -0.5), xlabel=unit)
    axes.grid(visible=False, axis="y")
