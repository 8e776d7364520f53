"""What is forgotten: of each task, and the ten classes that lose most, with their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from genifer.config import PlotSettings
from genifer.data.batches import load_task_data
from genifer.evaluation.plots import draw_sheet, method_colors, save, seeds_note, set_style
from genifer.evaluation.tables import forgetting, forgetting_of_classes, read_table

WORST = 10
PICTURES = 6
"""Of each of the worst classes."""


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
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), title=None)
    return figure


def _forgotten_classes(
    settings: PlotSettings, method: str, worst: pd.DataFrame, data_paths: Sequence[Path]
) -> Figure:
    rows = len(worst)
    figure, (left, right) = plt.subplots(
        1,
        2,
        figsize=(9, 1.5 + 0.5 * max(rows, 3)),
        width_ratios=[PICTURES, 9],
        layout="constrained",
    )
    figure.suptitle(f"{method}: the classes that it forgets most")
    if not rows:
        left.set_axis_off()
        return _nothing_to_forget(figure)
    pictures = np.stack([_pictures(row, data_paths) for _, row in worst.iterrows()])
    draw_sheet(left, pictures.reshape(-1, *pictures.shape[2:]))
    side = pictures.shape[1]
    names = [f"{row['class_name']} (task {row['eval_task']})" for _, row in worst.iterrows()]
    left.set_yticks([side * (index + 0.5) for index in range(rows)], names)

    positions = range(rows)
    right.barh(positions, 100 * worst["best"], color="0.85", label="at its best")
    right.barh(positions, 100 * worst["final"], color=method_colors(settings)[method], label="in the end")
    for position, (_, row) in zip(positions, worst.iterrows(), strict=True):
        change = -round(100 * row["forgetting"])
        right.text(101, position, f"{change:+d}" if change else "0", va="center", ha="left")
    right.set(xlim=(0, 112), ylim=(rows - 0.5, -0.5), yticks=[], xlabel="accuracy on the class (%)")
    right.set_xticks(range(0, 101, 20))
    figure.legend(loc="outside lower right", ncols=2)
    return figure


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
