"""Accuracy as classes are learned, accuracy per task, and confusion matrices."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from genifer.config import PlotSettings
from genifer.evaluation import COLUMNS, CONFUSION_COLUMNS
from genifer.evaluation.tables import has_one_order, incremental_accuracy, read_table
from genifer.report.phrases import over_seeds
from genifer.report.plots import (
    heading,
    label_lines,
    line_height,
    of_seeds,
    set_title,
    short_name,
    side_by_side,
    tick_values,
)
from genifer.report.style import Color, figure_size, method_colors, method_markers, save, scaled, set_style

NAMED_CLASSES = 20
"""Maximum number of classes whose names are shown in a confusion matrix."""

NUMBERED_CLASSES = 12
"""Maximum number of classes for which the cells of a confusion matrix show numbers."""


MOST_IN_COLUMN = 8
"""Maximum number of methods whose names are written beside the lines in a paper's column."""


def plot_accuracy(
    settings: PlotSettings, accuracy_path: Path, confusion_path: Path, output: Path, scenario: str = ""
) -> None:
    """Draw accuracy, accuracy_matrix_<label> and confusion_<label>.

    Args:
        accuracy_path, confusion_path: accuracy.csv and confusion.csv of a run.
        output: folder of the plots.
        scenario: data set and tasks, for the title.
    """
    set_style(settings)
    accuracy = read_table(accuracy_path, COLUMNS, needs_rows=True)
    confusion = read_table(confusion_path, CONFUSION_COLUMNS, needs_rows=True)
    save(_accuracy_over_classes(settings, accuracy, scenario), output / "accuracy", settings)
    for method, of_method in accuracy.groupby("method", sort=False):
        figure = _accuracy_matrix(settings, str(method), of_method)
        save(figure, output / f"accuracy_matrix_{method}", settings)
    for method, of_method in confusion.groupby("method", sort=False):
        save(_confusion(settings, str(method), of_method), output / f"confusion_{method}", settings)


def draw_accuracy(
    axes: Axes, accuracy: pd.DataFrame, colors: dict[str, Color], markers: dict[str, str], top: float
) -> dict[str, tuple[float, float]]:
    """Draw the accuracy on all classes so far, one line per method, shifted so that none hides another.

    Args:
        accuracy: as in accuracy.csv.
        colors, markers: for each of its methods.
        top: upper end of the y-axis.

    Returns:
        The last point of each line.
    """
    steps = of_seeds(incremental_accuracy(accuracy), ["method", "classes_seen"], "accuracy")
    sizes = sorted(steps["classes_seen"].unique())
    gap = min(np.diff(sizes), default=1)
    methods = list(dict.fromkeys(steps["method"]))
    shifts = dict(zip(methods, side_by_side(len(methods), gap), strict=True))
    ends = {}
    for method in methods:
        of_method = steps[steps["method"] == method].sort_values("classes_seen")
        x = of_method["classes_seen"] + shifts[method]
        axes.errorbar(
            x,
            of_method["mean"],
            of_method["std"] if accuracy["seed"].nunique() > 1 else None,
            color=colors[method],
            marker=markers[method],
            markeredgecolor="white",
            markeredgewidth=0.3,
            elinewidth=1,
            label=method,
        )
        ends[str(method)] = float(x.iloc[-1]), float(of_method["mean"].iloc[-1])
    tick_values(axes, sizes)
    margin = max(shifts.values()) + 0.15 * gap
    axes.set(xlim=(sizes[0] - margin, sizes[-1] + margin), ylim=(0, 1.02 * top))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    axes.grid(visible=False, axis="x")
    return ends


def top_of(accuracy: pd.DataFrame) -> float:
    """Return the upper end of an axis of accuracies: the next multiple of 20 %."""
    highest = incremental_accuracy(accuracy)["accuracy"].max()
    return float(max(np.ceil(highest / 0.2), 1) * 0.2)


def _accuracy_over_classes(settings: PlotSettings, accuracy: pd.DataFrame, scenario: str) -> Figure:
    colors, markers = method_colors(accuracy["method"], settings), method_markers(accuracy["method"])
    height = max(scaled(settings, 4.2), line_height() * (len(colors) + 3)) / scaled(settings, 1)
    figure, axes = plt.subplots(
        figsize=figure_size(settings, 8.0, height, column=len(colors) <= MOST_IN_COLUMN), layout="constrained"
    )
    ends = draw_accuracy(axes, accuracy, colors, markers, top_of(accuracy))
    axes.set(xlabel="classes learned so far", ylabel="accuracy on these classes (%)")
    set_title(figure, heading("Accuracy as classes are learned", scenario, accuracy["seed"].nunique()))
    label_lines(axes, ends, colors)
    return figure


def _accuracy_matrix(settings: PlotSettings, method: str, accuracy: pd.DataFrame) -> Figure:
    matrix = accuracy.pivot_table(index="after_task", columns="eval_task", values="accuracy", aggfunc="mean")
    n = len(matrix)
    size = figure_size(settings, max(4.6, 2.6 + 0.75 * n), 1.6 + 0.62 * n, column=n <= NUMBERED_CLASSES)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    sns.heatmap(
        100 * matrix,
        vmin=0,
        vmax=100,
        cmap="viridis",
        annot=n <= NAMED_CLASSES,
        fmt=".0f",
        annot_kws={"size": "small"} if settings.medium == "paper" else None,
        square=True,
        linewidths=0.5,
        cbar_kws={"label": "accuracy (%)"},
        ax=axes,
    )
    note = over_seeds(accuracy["seed"].nunique(), "means")
    set_title(figure, f"{method}: accuracy on each task\n({note})")
    axes.set(xlabel="evaluated on task", ylabel="after task")
    axes.tick_params(axis="y", rotation=0)
    axes.grid(visible=False)
    return figure


def _draw_shares(axes: Axes, shares: np.ndarray, label: str) -> None:
    """Draw the rows of a confusion matrix as shares in per cent; small matrices show all non-zero numbers."""
    numbers = np.vectorize(lambda share: f"{share:.0f}" if round(share) else "", otypes=[str])(shares)
    sns.heatmap(
        shares,
        vmin=0,
        vmax=100,
        cmap="viridis",
        square=True,
        annot=numbers if len(shares) <= NUMBERED_CLASSES else None,
        fmt="",
        annot_kws={"size": "small"},
        cbar_kws={"label": label},
        xticklabels=False,
        yticklabels=False,
        ax=axes,
    )


def _matrix_figure(settings: PlotSettings, n: int) -> tuple[Figure, Axes]:
    side = 3.6 + 0.2 * min(n, NAMED_CLASSES)
    width, height = figure_size(settings, side + 1.2, side, column=True)
    size = width, min(height, 0.85 * width) if settings.medium == "paper" else height
    return plt.subplots(figsize=size, layout="constrained")


def _confusion_of_tasks(settings: PlotSettings, method: str, last: pd.DataFrame) -> Figure:
    """Draw to which task's classes the images of each task are assigned.

    For runs with a class order per seed, in which classes at one position differ.
    """
    task_of = last.drop_duplicates("label").set_index("label")["eval_task"]
    by_task = last.assign(predicted=last["predicted"].map(task_of))
    counts = by_task.pivot_table(
        index="eval_task", columns="predicted", values="n_images", aggfunc="sum", fill_value=0
    )
    counts = counts.reindex(columns=counts.index, fill_value=0)
    figure, axes = _matrix_figure(settings, len(counts))
    shares = (100 * counts.div(counts.sum(axis=1), axis=0)).to_numpy()
    _draw_shares(axes, shares, "share of the task's images (%)")
    ticks = [position + 0.5 for position in range(len(counts))]
    axes.set_xticks(ticks, list(counts.index))
    axes.set_yticks(ticks, list(counts.index), rotation=0)
    note = f"{over_seeds(last['seed'].nunique(), 'pooled')}, each with its own class order"
    set_title(figure, f"{method}: confusion of tasks after the last task\n({note})")
    axes.set(xlabel="task of the predicted class", ylabel="task of the true class")
    return figure


def _confusion(settings: PlotSettings, method: str, confusion: pd.DataFrame) -> Figure:
    """Draw the confusion matrix of classes after the last task; of tasks if each seed has a class order."""
    last = confusion[confusion["after_task"] == confusion["after_task"].max()]
    if not has_one_order(last):
        return _confusion_of_tasks(settings, method, last)
    classes = last.drop_duplicates("label").sort_values("label")
    n = int(max(last["label"].max(), last["predicted"].max())) + 1
    counts = np.zeros((n, n))
    np.add.at(counts, (last["label"], last["predicted"]), last["n_images"])
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = _matrix_figure(settings, n)
    _draw_shares(axes, shares, "share of the class's images (%)")
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
    note = over_seeds(last["seed"].nunique(), "means") + ("; lines separate tasks" if len(tasks) > 1 else "")
    set_title(figure, f"{method}: confusion matrix after the last task\n({note})")
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure
