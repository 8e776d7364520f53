"""Accuracy as classes are learned, accuracy per task, and confusion matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from genifer.config import PlotSettings
from genifer.evaluation import COLUMNS, CONFUSION_COLUMNS
from genifer.evaluation.tables import has_one_order, incremental_accuracy, read_table
from genifer.report.plots import (
    legend_below,
    method_colors,
    save,
    seeds_note,
    set_style,
    set_title,
    short_name,
)

NAMED_CLASSES = 20
"""Classes of a confusion matrix that still have room for their names."""

MARKERS = "osD^vPX<>ph*d"


def plot_accuracy(settings: PlotSettings, accuracy_path: Path, confusion_path: Path, output: Path) -> None:
    """Draw accuracy, accuracy_matrix_<label> and confusion_<label>, each as PNG and SVG.

    Args:
        accuracy_path, confusion_path: accuracy.csv and confusion.csv of a run.
        output: folder of the plots.
    """
    set_style(settings)
    accuracy = read_table(accuracy_path, COLUMNS, needs_rows=True)
    confusion = read_table(confusion_path, CONFUSION_COLUMNS, needs_rows=True)
    save(_accuracy_over_classes(settings, accuracy), output / "accuracy", settings)
    for method, of_method in accuracy.groupby("method", sort=False):
        save(_accuracy_matrix(str(method), of_method), output / f"accuracy_matrix_{method}", settings)
    for method, of_method in confusion.groupby("method", sort=False):
        save(_confusion(str(method), of_method), output / f"confusion_{method}", settings)


def _accuracy_over_classes(settings: PlotSettings, accuracy: pd.DataFrame) -> Figure:
    steps = incremental_accuracy(accuracy)
    colors = method_colors(accuracy["method"], settings)
    markers = {method: MARKERS[index % len(MARKERS)] for index, method in enumerate(colors)}
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    sns.lineplot(
        steps,
        x="classes_seen",
        y="accuracy",
        hue="method",
        style="method",
        markers=markers,
        dashes=False,
        palette=colors,
        errorbar="sd",
        legend=False,
        ax=axes,
    )
    handles = [
        Line2D([], [], color=color, marker=markers[method], markeredgecolor="white", label=method)
        for method, color in colors.items()
    ]
    axes.set(
        xlabel="classes learned so far",
        ylabel="accuracy on these classes (%)",
        ylim=(0, 1.02),
        xticks=sorted(set(steps["classes_seen"])),
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    set_title(figure, f"Accuracy as classes are learned ({seeds_note(accuracy['seed'].nunique())})")
    legend_below(figure, handles)
    return figure


def _accuracy_matrix(method: str, accuracy: pd.DataFrame) -> Figure:
    matrix = accuracy.pivot_table(index="after_task", columns="eval_task", values="accuracy", aggfunc="mean")
    n = len(matrix)
    figure, axes = plt.subplots(figsize=(max(4.6, 2.6 + 0.75 * n), 1.6 + 0.62 * n), layout="constrained")
    sns.heatmap(
        100 * matrix,
        vmin=0,
        vmax=100,
        cmap="viridis",
        annot=n <= NAMED_CLASSES,
        fmt=".0f",
        square=True,
        linewidths=0.5,
        cbar_kws={"label": "accuracy (%)"},
        ax=axes,
    )
    set_title(figure, f"{method}: accuracy on each task")
    axes.set(xlabel="evaluated on task", ylabel="after task")
    axes.tick_params(axis="y", rotation=0)
    axes.grid(visible=False)
    return figure


def _draw_shares(axes: Axes, shares: Any, label: str, **ticks: bool) -> None:
    """Draw the rows of a confusion matrix as shares in per cent; small ones with their numbers."""
    sns.heatmap(
        shares,
        vmin=0,
        vmax=100,
        cmap="viridis",
        square=True,
        annot=len(shares) <= 12,
        fmt=".0f",
        annot_kws={"size": "small"},
        cbar_kws={"label": label},
        ax=axes,
        **ticks,
    )


def _confusion_of_tasks(method: str, last: pd.DataFrame) -> Figure:
    """Which task's classes the images of each task are taken for.

    Where each seed has a class order of its own, classes of one position are different ones.
    """
    task_of = last.drop_duplicates("label").set_index("label")["eval_task"]
    by_task = last.assign(predicted=last["predicted"].map(task_of))
    counts = by_task.pivot_table(
        index="eval_task", columns="predicted", values="n_images", aggfunc="sum", fill_value=0
    )
    counts = counts.reindex(columns=counts.index, fill_value=0)
    n = len(counts)
    side = 3.6 + 0.2 * min(n, NAMED_CLASSES)
    figure, axes = plt.subplots(figsize=(side + 1.2, side), layout="constrained")
    _draw_shares(axes, 100 * counts.div(counts.sum(axis=1), axis=0), "share of the task's images (%)")
    set_title(figure, f"{method}: confusion of tasks after the last task\n(a class order per seed)")
    axes.set(xlabel="task of the predicted class", ylabel="task of the true class")
    axes.tick_params(axis="y", rotation=0)
    return figure


def _confusion(method: str, confusion: pd.DataFrame) -> Figure:
    """The confusion matrix after the last task: one row per true class; of tasks with an order per seed."""
    last = confusion[confusion["after_task"] == confusion["after_task"].max()]
    if not has_one_order(last):
        return _confusion_of_tasks(method, last)
    classes = last.drop_duplicates("label").sort_values("label")
    n = int(max(last["label"].max(), last["predicted"].max())) + 1
    counts = np.zeros((n, n))
    np.add.at(counts, (last["label"], last["predicted"]), last["n_images"])
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 3.6 + 0.2 * min(n, NAMED_CLASSES)
    figure, axes = plt.subplots(figsize=(side + 1.2, side), layout="constrained")
    label = "share of the class's images (%)"
    _draw_shares(axes, shares, label, xticklabels=False, yticklabels=False)
    tasks = classes.groupby("eval_task")["label"].agg(["min", "max"])
    for first in tasks["min"][1:]:
        axes.axhline(first, color="white", linewidth=1.5)
        axes.axvline(first, color="white", linewidth=1.5)
    if n <= NAMED_CLASSES:
        names = [short_name(name) for name in classes["class_name"]]
        long = max(map(len, names)) > 3
        ticks = [label + 0.5 for label in classes["label"]]
        axes.set_xticks(ticks, names, rotation=60 if long else 0, ha="right" if long else "center")
        axes.set_yticks(ticks, names, rotation=0)
    else:
        centres = list((tasks["min"] + tasks["max"] + 1) / 2)
        axes.set_xticks(centres, [f"task {task}" for task in tasks.index], rotation=45, ha="right")
        axes.set_yticks(centres, [f"task {task}" for task in tasks.index], rotation=0)
    set_title(figure, f"{method}: confusion matrix\nafter the last task")
    axes.set(xlabel="predicted class (lines separate tasks)", ylabel="true class")
    return figure
