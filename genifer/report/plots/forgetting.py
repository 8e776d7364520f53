"""Forgetting of each task, and the most forgotten classes with images of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from genifer.config import PlotSettings
from genifer.data.batches import TaskData, load_task_data
from genifer.errors import GeniferError
from genifer.evaluation import COLUMNS, CONFUSION_COLUMNS
from genifer.evaluation.tables import forgetting, forgetting_of_classes, read_table
from genifer.report.phrases import over_seeds
from genifer.report.plots import (
    draw_sheet,
    empty_figure,
    end_at_ticks,
    heading,
    legend_below,
    letter_width,
    line_height,
    means_of_classes,
    of_seeds,
    set_title,
    short_name,
    tick_values,
    wrapped,
)
from genifer.report.style import Color, figure_size, method_colors, save, scaled, set_style

WORST = 10
"""Number of classes to show."""

PICTURES = 6
"""Number of images per class."""

ROW_HEIGHT, BARS_WIDTH, MARGIN = 0.45, 4.2, 0.1
"""Size of that figure in inches on a screen; images are square."""

CPU = torch.device("cpu")

SINGLE_TASK = "a single task: nothing to forget"


def plot_forgetting(
    settings: PlotSettings,
    accuracy_path: Path,
    confusion_path: Path,
    data_paths: Sequence[Path],
    output: Path,
    scenario: str = "",
) -> None:
    """Draw forgetting and forgotten_classes_<label>.

    Args:
        accuracy_path, confusion_path: accuracy.csv and confusion.csv of a run.
        data_paths: prepared files of all tasks in order, of one seed if each has a class order of its own;
            the first images of a class are shown.
        output: folder of the plots.
        scenario: data set and tasks, for the title.

    Raises:
        GeniferError: a table cannot be read, or names a task that has no file.
    """
    set_style(settings)
    accuracy = read_table(accuracy_path, COLUMNS, needs_rows=True)
    confusion = read_table(confusion_path, CONFUSION_COLUMNS, needs_rows=True)
    if confusion["eval_task"].max() >= len(data_paths):
        raise GeniferError(
            f"{confusion_path}: names task {confusion['eval_task'].max()}, but --data gives the files of "
            f"{len(data_paths)} tasks; give those of all tasks in order"
        )
    colors = method_colors(accuracy["method"], settings)
    save(_forgetting_per_task(settings, accuracy, colors, scenario), output / "forgetting", settings)
    for method, of_method in confusion.groupby("method", sort=False):
        worst = forgetting_of_classes(of_method).head(WORST)
        color = colors.get(str(method), (0.4, 0.4, 0.4))
        seeds = of_method["seed"].nunique()
        figure = _forgotten_classes(settings, str(method), color, worst, seeds, data_paths)
        save(figure, output / f"forgotten_classes_{method}", settings)


def _forgetting_per_task(
    settings: PlotSettings, accuracy: pd.DataFrame, colors: dict[str, Color], scenario: str
) -> Figure:
    """Draw one group of bars per task, with one bar per method."""
    table = of_seeds(forgetting(accuracy), ["method", "eval_task"], "forgetting")
    if table.empty:
        return empty_figure(SINGLE_TASK)
    tasks = sorted(table["eval_task"].unique())
    n, width = len(colors), 0.8 / len(colors)
    figure, axes = plt.subplots(
        figsize=figure_size(
            settings, max(7.5, 1.5 + 0.08 * len(tasks) * (n + 1)), 3.8, column=n * len(tasks) <= 24
        ),
        layout="constrained",
    )
    for index, (method, color) in enumerate(colors.items()):
        bars = table[table["method"] == method]
        axes.bar(
            bars["eval_task"] + (index + 0.5) * width - 0.4,
            100 * bars["mean"],
            width,
            yerr=100 * bars["std"] if accuracy["seed"].nunique() > 1 else None,
            error_kw={"linewidth": 1.5 if n <= 5 else 0.7, "ecolor": "0.25"},
            color=color,
            linewidth=0,
        )
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set(xlabel="task", ylabel="best earlier minus final\naccuracy (percentage points)")
    tick_values(axes, tasks)
    axes.margins(x=0.01)
    axes.grid(visible=False, axis="x")
    tops, bottoms = (100 * (table["mean"] + sign * table["std"]) for sign in (1, -1))
    end_at_ticks(axes.yaxis, max(min(bottoms.min(), 0), -100), min(max(tops.max(), 1), 100))
    set_title(figure, heading("Forgetting", scenario, accuracy["seed"].nunique()))
    legend_below(figure, [Patch(color=color, label=method) for method, color in colors.items()])
    return figure


def _forgotten_classes(
    settings: PlotSettings,
    method: str,
    color: Color,
    worst: pd.DataFrame,
    seeds: int,
    data_paths: Sequence[Path],
) -> Figure:
    """Draw one row per class: its name, images, best accuracy before the last task and final accuracy."""
    if worst.empty:
        return empty_figure(SINGLE_TASK)
    rows = len(worst)
    one_order = "eval_task" in worst
    names = [
        f"{short_name(row['class_name'])} "
        + (f"(task {row['eval_task']})" if one_order else f"({over_seeds(row['n_seeds'])})")
        for _, row in worst.iterrows()
    ]
    row, bars, margin = (scaled(settings, inches) for inches in (ROW_HEIGHT, BARS_WIDTH, MARGIN))
    named = letter_width() * max(map(len, names)) + 2 * margin
    width = named + PICTURES * row + bars
    lost = int((worst["forgetting"] > 0).sum())
    what = _how_many(lost, rows)
    title = wrapped(f"{method}: {what}\n({means_of_classes(seeds, one_order=one_order)})", width)
    below = 4 * line_height() + 2 * margin
    inches = (width, rows * row + below + line_height() * len(title.splitlines()) + 2 * margin)
    figure = plt.figure(figsize=inches)

    def panel(left: float, width: float) -> Axes:
        """Add axes with rows as high as the images, so that both panels line up."""
        height = rows * row / inches[1]
        return figure.add_axes((left / inches[0], below / inches[1], width / inches[0], height))

    pictures = np.stack([_pictures(row, data_paths) for _, row in worst.iterrows()])
    side = pictures.shape[1]
    left = panel(named, PICTURES * row)
    draw_sheet(left, pictures.reshape(-1, *pictures.shape[2:]))
    left.set_yticks([side * (index + 0.5) for index in range(rows)], names)

    change = letter_width() * len("-100 points")
    right = panel(named + PICTURES * row + margin, bars - change - 2 * margin)
    positions = range(rows)
    right.barh(positions, 100 * worst["best"], color="0.85", label="best before the last task")
    right.barh(positions, 100 * worst["final"], 0.5, color=color, label="final")
    for position, (_, about) in zip(positions, worst.iterrows(), strict=True):
        points = -round(100 * about["forgetting"])
        text = f"{points:+d} points" if points else "no change"
        right.annotate(
            text,
            (1, position),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    right.set(xlim=(0, 100), ylim=(rows - 0.5, -0.5), yticks=[], xlabel="accuracy on the class (%)")
    right.set_xticks(range(0, 101, 20))
    right.grid(visible=False, axis="y")
    figure.suptitle(title, y=1 - margin / inches[1], va="top")
    figure.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 0))
    return figure


def _how_many(lost: int, rows: int) -> str:
    """Return the title of a plot that shows some classes, of which some have lost accuracy."""
    if lost == 0:
        return "no class lost accuracy"
    classes = "class" if lost == 1 else f"{lost} classes"
    if lost == rows:
        return f"the {classes} that lost most accuracy"
    return f"{'one ' if lost == 1 else ''}{classes} lost accuracy"


def _pictures(row: pd.Series, data_paths: Sequence[Path]) -> np.ndarray:
    """Join the first images of a class above a white line: shape (side + 1, width, channels)."""
    if "label" in row:
        label, data = row["label"], load_task_data([data_paths[row["eval_task"]]], CPU)
    else:
        label, data = _find_class(row["class_name"], data_paths)
    images = data.of_class(label)[:PICTURES].permute(0, 2, 3, 1).numpy()
    _, side, _, channels = images.shape
    strip = np.full((side + 1, PICTURES * (side + 1), channels), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        strip[:side, index * (side + 1) : index * (side + 1) + side] = image
    return strip


def _find_class(name: str, data_paths: Sequence[Path]) -> tuple[int, TaskData]:
    """Return the label of a class in prepared files, and the data of its task."""
    tasks = [load_task_data([path], CPU) for path in data_paths]
    label = tasks[0].class_names.index(name)
    return label, next(task for task in tasks if label < task.n_old + task.n_new)
