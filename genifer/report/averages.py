"""Average incremental accuracy of each method of a comparison: one dot per seed, and their mean."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from genifer.config import PlotSettings
from genifer.evaluation.comparison import Group
from genifer.evaluation.tables import average_incremental_accuracy
from genifer.report.plots import wrapped
from genifer.report.style import COLUMN, method_colors, set_style

ROW_HEIGHT = 0.18
"""Inches for one method."""


def label_of(method: str, seeds: Sequence[int], *, uses_old_images: bool) -> str:
    """Return a method's label in a figure: its name and number of seeds, and a mark if it breaks the rule.

    Args:
        seeds: different numbers of seeds in the figure's panels, in increasing order.
    """
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"{method}{'*' if uses_old_images else ''} ({count})"


def old_images_note(groups: Sequence[Group]) -> str:
    """Explain the mark of methods that use stored images; empty if there are none."""
    marked = any(
        group.uses_old_images(str(method)) for group in groups for method in group.accuracy["method"].unique()
    )
    return "* uses stored images of old tasks" if marked else ""


def averages_figure(groups: Sequence[Group]) -> Figure:
    """Draw one panel per group and one row per method, the best at the top.

    Dots are seeds, bars their mean; the number of seeds follows the method's name. The average leaves the
    first task out.
    """
    settings = PlotSettings(medium="paper")
    set_style(settings)
    plt.rcParams["svg.fonttype"] = "path"  # keep text as paths, because viewers may lack the fonts
    colors = method_colors(pd.concat([group.accuracy for group in groups])["method"], settings)
    rows = [group.accuracy["method"].nunique() for group in groups]
    figure, panels = plt.subplots(
        len(groups),
        1,
        figsize=(COLUMN, ROW_HEIGHT * sum(rows) + 0.8 * len(groups)),
        height_ratios=rows,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, group in zip(panels[:, 0], groups, strict=True):
        per_seed = average_incremental_accuracy(group.accuracy)
        means = per_seed.groupby("method", sort=False)["accuracy"].mean()
        methods = list(means.sort_values(ascending=False, kind="stable").index)
        seeds = per_seed.groupby("method")["seed"].nunique()
        for row, method in enumerate(methods):
            values = per_seed[per_seed["method"] == method]["accuracy"]
            axes.plot(values, [row] * len(values), "o", color=colors[method], alpha=0.6, markersize=5)
            axes.plot([values.mean()] * 2, [row - 0.3, row + 0.3], color=colors[method], linewidth=2)
        labels = [
            label_of(method, [seeds[method]], uses_old_images=group.uses_old_images(method))
            for method in methods
        ]
        axes.set_yticks(range(len(methods)), labels)
        axes.set(ylim=(max(len(methods), 1) - 0.5, -0.5))
        axes.set_title(wrapped(group.title, COLUMN))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    panels[-1, 0].set_xlabel("average incremental accuracy (%),\nwithout the first task")
    figure.supxlabel(old_images_note(groups), fontsize="small", ha="right", x=0.99)
    return figure
