"""Where the time went."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from genifer.config import PlotSettings
from genifer.evaluation.costs import span, stages_of
from genifer.evaluation.plots import save, set_style

UNITS = ((7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
"""From so many seconds on: seconds of the unit, and its name."""

DEVICES = {"cuda": "GPU", "cpu": "CPU"}


def plot_costs(settings: PlotSettings, costs_path: Path, output: Path) -> None:
    """costs, as PNG and SVG: a bar a stage, from costs.csv of a run."""
    set_style(settings)
    save(_time_of_stages(settings, pd.read_csv(costs_path)), output / "costs", settings)


def _time_of_stages(settings: PlotSettings, costs: pd.DataFrame) -> Figure:
    stages = stages_of(costs)
    longest = stages["seconds"].max()
    divisor, unit = next((divisor, unit) for least, divisor, unit in UNITS if longest >= least)
    by_device = dict(zip(DEVICES, sns.color_palette(settings.palette)[3:5], strict=True))
    figure, axes = plt.subplots(figsize=(8, 1.7 + 0.3 * len(stages)), layout="constrained")
    positions = range(len(stages))
    axes.barh(
        positions, stages["seconds"] / divisor, color=[by_device[device] for device in stages["device"]]
    )
    for position, seconds in zip(positions, stages["seconds"], strict=True):
        axes.text(seconds / divisor, position, f" {span(seconds)}", va="center", size="small")
    axes.set_yticks(list(positions), list(stages["label"]))
    axes.set(ylim=(len(stages) - 0.5, -0.5), xlabel=unit)
    axes.margins(x=0.15)
    axes.grid(visible=False, axis="y")
    axes.set_title(f"Where the time went: {span(costs['seconds'].sum())} in {len(costs)} jobs, added up")
    handles = [Patch(color=by_device[device], label=DEVICES[device]) for device in stages["device"].unique()]
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles))
    return figure
