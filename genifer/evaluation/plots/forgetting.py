"""What is forgotten: of each task, and the ten classes that lose most, with their pictures."""

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
from matplotlib.ticker import PercentFormatter

from genifer.config import PlotSettings
from genifer.data.batches import load_task_data
from genifer.evaluation.plots import draw_sheet, method_colors, save, seeds_note, set_style
from genifer.evaluation.tables import forgetting, forgetting_of_classes, read_table

WORST = 10
PICTURES = 6
"""Of each of the worst classes."""

NAMES_WIDTH, ROW_HEIGHT, BARS_WIDTH = 2.3, 0.45, 4.2
"""Of that figure, in inches; pictures are square."""

LONGEST_NAME = 17


def plot_forgetting(
    settings: PlotSettings,
    accuracy_path: Path,
    confusion_path: Path,
    data_paths: Sequence[Path],
    output: Path,
) -> None:
    """forgetting and forgotten_classes_<method>, each as PNG and SVG.

    Args:
        data_paths: prepared files of all tasks in order, whose first images of a class are shown.
    """
    set_style(settings)
    save(_forgetting_per_task(settings, pd.read_csv(accuracy_path)), output / "forgetting", settings)
    confusion = read_table(confusion_path)
    for method, of_method in confusion.groupby("method", sort=False):
        worst = forgetting_of_classes(of_method).head(WORST)
        figure = _forgotten_classes(settings, str(method), worst, data_paths)
        save(figure, output / f"forgotten_classes_{method}", settings)


def _forgetting_per_task(settings: PlotSettings, accuracy: pd.DataFrame) -> Figure:
    table = forgetting(accuracy)
    seeds = accuracy["seed"].nunique()
    figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    axes.set(
        title="Forgetting: best accuracy on a task before the last one,\n"
        f"less the accuracy at the end ({seeds_note(seeds)})"
    )
    if table.empty:
        return _nothing_to_forget(figure)
    sns.barplot(
        table,
        x="eval_task",
        y="forgetting",
        hue="method",
        palette=method_colors(settings),
        errorbar="sd" if seeds > 1 else None,
        ax=axes,
    )
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set(xlabel="task", ylabel="accuracy lost (percentage points)")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), title=None)
    return figure


def _forgotten_classes(
    settings: PlotSettings, method: str, worst: pd.DataFrame, data_paths: Sequence[Path]
) -> Figure:
    if worst.empty:
        figure, _ = plt.subplots(figsize=(7.5, 2), layout="constrained")
        return _nothing_to_forget(figure)
    rows = len(worst)
    inches = (NAMES_WIDTH + PICTURES * ROW_HEIGHT + BARS_WIDTH, rows * ROW_HEIGHT + 1.6)
    figure = plt.figure(figsize=inches)

    def panel(left: float, width: float) -> Axes:
        """Axes whose rows are as high as the pictures, so that both panels are in line."""
        height = rows * ROW_HEIGHT / inches[1]
        return figure.add_axes((left / inches[0], 1.05 / inches[1], width / inches[0], height))

    pictures = np.stack([_pictures(row, data_paths) for _, row in worst.iterrows()])
    side = pictures.shape[1]
    left = panel(NAMES_WIDTH, PICTURES * ROW_HEIGHT)
    draw_sheet(left, pictures.reshape(-1, *pictures.shape[2:]))
    names = [f"{_short(row['class_name'])} (task {row['eval_task']})" for _, row in worst.iterrows()]
    left.set_yticks([side * (index + 0.5) for index in range(rows)], names)

    right = panel(NAMES_WIDTH + PICTURES * ROW_HEIGHT + 0.15, BARS_WIDTH - 0.3)
    positions = range(rows)
    right.barh(positions, 100 * worst["best"], color="0.85", label="at its best")
    right.barh(positions, 100 * worst["final"], color=method_colors(settings)[method], label="in the end")
    for position, (_, row) in zip(positions, worst.iterrows(), strict=True):
        change = -round(100 * row["forgetting"])
        right.text(101, position, f"{change:+d}" if change else "0", va="center", ha="left")
    right.set(xlim=(0, 112), ylim=(rows - 0.5, -0.5), yticks=[], xlabel="accuracy on the class (%)")
    right.set_xticks(range(0, 101, 20))
    figure.suptitle(f"{method}: the classes that it forgets most", y=1 - 0.12 / inches[1], va="top")
    figure.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 0))
    return figure


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


def _pictures(row: pd.Series, data_paths: Sequence[Path]) -> np.ndarray:
    """The first images of a class side by side, with a white line below: (side + 1, width, channels)."""
    data = load_task_data([data_paths[row["eval_task"]]], torch.device("cpu"))
    images = data.images[data.labels == row["label"]][:PICTURES].permute(0, 2, 3, 1).numpy()
    _, side, _, channels = images.shape
    strip = np.full((side + 1, PICTURES * (side + 1), channels), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        strip[:side, index * (side + 1) : index * (side + 1) + side] = image
    return strip


def _nothing_to_forget(figure: Figure) -> Figure:
    axes = figure.axes[-1]
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "a single task: nothing to forget", ha="center", transform=axes.transAxes)
    return figure
