"""Quality of the replay, for each class and over the tasks."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from genifer.config import PlotSettings
from genifer.evaluation import REPLAY_COLUMNS
from genifer.evaluation.tables import has_one_order, read_table, with_common_labels
from genifer.report.plots import (
    CLASSES_PER_BAND,
    bands,
    legend_below,
    line_height,
    means_of_classes,
    name_columns,
    names_height,
    of_seeds,
    scale_of_distances,
    seeds_note,
    set_title,
    side_by_side,
    tick_values,
)
from genifer.report.style import figure_size, save, scaled, set_style, task_colors

HELD_OUT = "held-out images"


def plot_replay_quality(settings: PlotSettings, replay_path: Path, output: Path) -> None:
    """Draw replay_agreement_<label> and replay_frechet_<label>.

    Args:
        replay_path: replay.csv of a run.
        output: folder of the plots.
    """
    set_style(settings)
    for method, replay in read_table(replay_path, REPLAY_COLUMNS).groupby("method", sort=False):
        save(_agreement(settings, str(method), replay), output / f"replay_agreement_{method}", settings)
        save(_frechet(settings, str(method), replay), output / f"replay_frechet_{method}", settings)


def _agreement(settings: PlotSettings, method: str, replay: pd.DataFrame) -> Figure:
    """Draw a row per GAN and one for held-out images with the last GAN's classifier; a column per class."""
    one_order = has_one_order(replay)
    replay = with_common_labels(replay)
    table = 100 * replay.pivot_table(index="after_task", columns="label", values="agreement", aggfunc="mean")
    table.index = [f"GAN of task {task}" for task in table.index]
    last = replay[replay["after_task"] == replay["after_task"].max()]
    table.loc[HELD_OUT] = 100 * last.groupby("label")["agreement_of_held_out"].mean()
    names = dict(zip(replay["label"], replay["class_name"], strict=True))
    tasks = dict(zip(replay["label"], replay["eval_task"], strict=True)) if one_order else {}
    of_bands = list(bands(len(names)))
    columns = min(len(names), CLASSES_PER_BAND)
    shown = [table.reindex(columns=list(classes)).dropna(how="all") for classes in of_bands]
    above = line_height() if tasks else 0.0
    row, below = scaled(settings, 0.42), names_height(names.values()) + 1.2 * line_height()
    size = figure_size(settings, max(columns * 0.42 + 3.6, 7.5), 1.0)
    figure, grid = plt.subplots(
        len(of_bands),
        1,
        figsize=(size[0], sum(len(band) * row + above + below for band in shown)),
        height_ratios=[len(band) * row + above for band in shown],
        layout="constrained",
        squeeze=False,
    )
    for axes, classes, band in zip(grid[:, 0], of_bands, shown, strict=True):
        sns.heatmap(
            band.reindex(columns=range(classes.start, classes.start + columns)),
            vmin=0,
            vmax=100,
            cmap="viridis",
            annot=True,
            fmt=".0f",
            annot_kws={"size": "small"},
            linewidths=0.5,
            cbar=False,
            xticklabels=False,
            ax=axes,
        )
        name_columns(axes, [i + 0.5 for i in range(len(classes))], [names[label] for label in classes])
        axes.tick_params(axis="y", rotation=0)
        axes.set(xlabel="class" if classes is of_bands[-1] else None, ylabel=None)
        axes.grid(visible=False)
        axes.axhline(len(band) - 1, color="white", linewidth=4)
        _separate_tasks(axes, [tasks[label] for label in classes if label in tasks])
    scale = figure.colorbar(grid[0, 0].collections[0], ax=grid[:, 0].tolist(), aspect=25, pad=0.02)
    scale.set_label("agreement (%)")
    note = means_of_classes(replay["seed"].nunique(), one_order=one_order)
    set_title(
        figure, f"{method}: share of replay that the classifier assigns to the requested class\n({note})"
    )
    return figure


def _separate_tasks(axes: Axes, tasks: list[int]) -> None:
    """Draw lines between tasks, and write each task above its classes."""
    for task in dict.fromkeys(tasks):
        first = tasks.index(task)
        if first:
            axes.axvline(first, color="white", linewidth=4)
        axes.annotate(
            f"task {task}",
            (first + tasks.count(task) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            size="small",
        )


def _frechet(settings: PlotSettings, method: str, replay: pd.DataFrame) -> Figure:
    """Draw one line for the classes of each task, over the GANs that replay them."""
    columns = ["frechet", "frechet_of_held_out"]
    of_tasks = replay.groupby(["seed", "after_task", "eval_task"])[columns].mean().reset_index()
    tasks = sorted(of_tasks["eval_task"].unique())
    colors = task_colors(tasks)
    seeds = of_tasks["seed"].nunique()
    figure, axes = plt.subplots(figsize=figure_size(settings, 7.5, 4.0, column=True), layout="constrained")
    lowest, highest = [], []
    for column, style, marker in zip(columns, ("-", ":"), ("o", "."), strict=True):
        points = of_seeds(of_tasks, ["eval_task", "after_task"], column)
        highest.append((points["mean"] + points["std"]).max())
        lowest.append(points["mean"].min())
        for task, shift in zip(tasks, side_by_side(len(tasks), 1), strict=True):
            of_task = points[points["eval_task"] == task].sort_values("after_task")
            axes.errorbar(
                of_task["after_task"] + shift,
                of_task["mean"],
                of_task["std"] if seeds > 1 and column == "frechet" else None,
                color=colors[task],
                linestyle=style,
                marker=marker,
                markeredgecolor="white",
                markeredgewidth=0.3,
                elinewidth=1,
            )
    axes.set(xlabel="GAN of task", ylabel="Fréchet distance\n(squared features)")
    tick_values(axes, sorted(of_tasks["after_task"].unique()))
    scale_of_distances(axes, min(lowest), max(highest))
    set_title(
        figure,
        f"{method}: distance of replay to real images in the features that the GAN matches\n"
        f"({seeds_note(seeds)})",
    )
    handles = [
        Line2D([], [], color=colors[task], marker="o", label=f"classes of task {task}") for task in tasks
    ]
    handles.append(Line2D([], [], color="0.3", linestyle=":", marker=".", label="held-out real images"))
    legend_below(figure, handles)
    return figure
