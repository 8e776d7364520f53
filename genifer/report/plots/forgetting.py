"""Forgetting of each task, and the classes that lose most, with images of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from genifer.config import PlotSettings
from genifer.data.batches import TaskData, load_task_data
from genifer.errors import GeniferError
from genifer.evaluation import COLUMNS, CONFUSION_COLUMNS
from genifer.evaluation.tables import forgetting, forgetting_of_classes, read_table
from genifer.report.plots import (
    Color,
    draw_sheet,
    empty_figure,
    legend_below,
    line_height,
    method_colors,
    save,
    seeds_note,
    set_style,
    set_title,
    short_name,
    wrapped,
)

WORST = 10
"""Classes that are shown."""

PICTURES = 6
"""Images of each of them."""

NAMES_WIDTH, ROW_HEIGHT, BARS_WIDTH = 2.3, 0.45, 4.2
"""Inches of that figure; images are square."""

CPU = torch.device("cpu")

SINGLE_TASK = "a single task: nothing to forget"


def plot_forgetting(
    settings: PlotSettings,
    accuracy_path: Path,
    confusion_path: Path,
    data_paths: Sequence[Path],
    output: Path,
) -> None:
    """Draw forgetting and forgotten_classes_<label>, each as PNG and SVG.

    Args:
        accuracy_path, confusion_path: accuracy.csv and confusion.csv of a run.
        data_paths: prepared files of all tasks in order, of one seed where each has a class order of its
            own; the first images of a class are shown.
        output: folder of the plots.

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
    save(_forgetting_per_task(accuracy, colors), output / "forgetting", settings)
    for method, of_method in confusion.groupby("method", sort=False):
        worst = forgetting_of_classes(of_method).head(WORST)
        color = colors.get(str(method), (0.4, 0.4, 0.4))
        figure = _forgotten_classes(str(method), color, worst, data_paths)
        save(figure, output / f"forgotten_classes_{method}", settings)


def _forgetting_per_task(accuracy: pd.DataFrame, colors: dict[str, Color]) -> Figure:
    table = forgetting(accuracy)
    if table.empty:
        return empty_figure(SINGLE_TASK)
    seeds = accuracy["seed"].nunique()
    tasks = table["eval_task"].nunique()
    figure, axes = plt.subplots(
        figsize=(max(7.5, 1.5 + 0.08 * tasks * (len(colors) + 1)), 3.8), layout="constrained"
    )
    sns.barplot(
        table,
        x="eval_task",
        y="forgetting",
        hue="method",
        palette=colors,
        saturation=1,
        errorbar="sd" if seeds > 1 else None,
        err_kws={"linewidth": 1.5 if len(colors) <= 5 else 0.7},
        legend=False,
        ax=axes,
    )
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set(
        xlabel="task",
        ylabel="accuracy lost (percentage points)",
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    set_title(
        figure, f"Forgetting: best earlier accuracy on a task minus final accuracy\n({seeds_note(seeds)})"
    )
    legend_below(figure, [Patch(color=color, label=method) for method, color in colors.items()])
    return figure


def _forgotten_classes(method: str, color: Color, worst: pd.DataFrame, data_paths: Sequence[Path]) -> Figure:
    if worst.empty:
        return empty_figure(SINGLE_TASK)
    rows = len(worst)
    width = NAMES_WIDTH + PICTURES * ROW_HEIGHT + BARS_WIDTH
    title = wrapped(f"{method}: most forgotten classes", width)
    inches = (width, rows * ROW_HEIGHT + 1.3 + line_height() * len(title.splitlines()))
    figure = plt.figure(figsize=inches)

    def panel(left: float, width: float) -> Axes:
        """Axes with rows as high as the images, so that both panels line up."""
        height = rows * ROW_HEIGHT / inches[1]
        return figure.add_axes((left / inches[0], 1.05 / inches[1], width / inches[0], height))

    pictures = np.stack([_pictures(row, data_paths) for _, row in worst.iterrows()])
    side = pictures.shape[1]
    left = panel(NAMES_WIDTH, PICTURES * ROW_HEIGHT)
    draw_sheet(left, pictures.reshape(-1, *pictures.shape[2:]))
    names = [
        short_name(row["class_name"]) + (f" (task {row['eval_task']})" if "eval_task" in row else "")
        for _, row in worst.iterrows()
    ]
    left.set_yticks([side * (index + 0.5) for index in range(rows)], names)

    right = panel(NAMES_WIDTH + PICTURES * ROW_HEIGHT + 0.15, BARS_WIDTH - 0.3)
    positions = range(rows)
    right.barh(positions, 100 * worst["best"], color="0.85", label="best earlier accuracy")
    right.barh(positions, 100 * worst["final"], color=color, label="final accuracy")
    for position, (_, row) in zip(positions, worst.iterrows(), strict=True):
        change = -round(100 * row["forgetting"])
        right.text(101, position, f"{change:+d}" if change else "0", va="center", ha="left")
    right.set(xlim=(0, 112), ylim=(rows - 0.5, -0.5), yticks=[], xlabel="accuracy on the class (%)")
    right.set_xticks(range(0, 101, 20))
    figure.suptitle(title, y=1 - 0.12 / inches[1], va="top")
    figure.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 0))
    return figure


def _pictures(row: pd.Series, data_paths: Sequence[Path]) -> np.ndarray:
    """The first images of a class side by side above a white line: (side + 1, width, channels)."""
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
    """The label of a class in prepared files, and the images of its task."""
    tasks = [load_task_data([path], CPU) for path in data_paths]
    label = tasks[0].class_names.index(name)
    return label, next(task for task in tasks if label < task.n_old + task.n_new)
