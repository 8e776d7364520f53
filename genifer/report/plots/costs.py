"""Time of each job."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from genifer.config import PlotSettings
from genifer.evaluation import COST_COLUMNS
from genifer.evaluation.costs import cost_by_job
from genifer.evaluation.tables import read_table
from genifer.report.phrases import device_name
from genifer.report.plots import empty_figure, legend_below, save, set_style, set_title
from genifer.runtime.durations import span

UNITS = ((7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
"""From this many seconds on: seconds per unit, and its name."""

DEVICES = ("cuda", "cpu")
"""Devices with colours of their own."""

MOST_BARS = 40
"""With more bars than this the trainings of all tasks share one."""


def plot_costs(settings: PlotSettings, costs_path: Path, output: Path) -> None:
    """Draw costs, as PNG and SVG: the time of each job, summed over the seeds.

    Args:
        costs_path: costs.csv of a run.
        output: folder of the plot.
    """
    set_style(settings)
    save(_time_by_job(settings, read_table(costs_path, COST_COLUMNS)), output / "costs", settings)


def _time_by_job(settings: PlotSettings, costs: pd.DataFrame) -> Figure:
    if costs.empty:
        return empty_figure("no job has recorded its time")
    table = cost_by_job(costs)
    if len(table) > MOST_BARS:
        table = cost_by_job(costs, by_task=False)
    longest = table["seconds"].max()
    divisor, unit = next((divisor, unit) for least, divisor, unit in UNITS if longest >= least)
    palette = dict(zip(DEVICES, sns.color_palette(settings.palette)[3:5], strict=True))
    colors = {device: palette.get(device, (0.5, 0.5, 0.5)) for device in table["device"]}
    width = 6 + 0.08 * max(map(len, table["label"]))
    figure, axes = plt.subplots(figsize=(width, 0.9 + 0.3 * len(table)), layout="constrained")
    positions = range(len(table))
    axes.barh(positions, table["seconds"] / divisor, color=[colors[device] for device in table["device"]])
    for position, seconds in zip(positions, table["seconds"], strict=True):
        axes.text(seconds / divisor, position, f" {span(seconds)}", va="center", size="small")
    axes.set_yticks(list(positions), list(table["label"]))
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel=unit)
    axes.margins(x=0.15)
    axes.grid(visible=False, axis="y")
    set_title(figure, f"Total time: {span(costs['seconds'].sum())} in {len(costs)} jobs")
    legend_below(figure, [Patch(color=color, label=device_name(device)) for device, color in colors.items()])
    return figure
