"""Quality of the replay, for each class and over the tasks."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from genifer.config import PlotSettings
from genifer.evaluation import REPLAY_COLUMNS
from genifer.evaluation.tables import read_table, with_common_labels
from genifer.report.phrases import over_seeds
from genifer.report.plots import (
    CLASSES_PER_BAND,
    bands,
    legend_below,
    name_columns,
    names_height,
    save,
    seeds_note,
    set_style,
    set_title,
    task_colors,
)


def plot_replay_quality(settings: PlotSettings, replay_path: Path, output: Path) -> None:
    """Draw replay_agreement_<label> and replay_frechet_<label>, each as PNG and SVG.

    Args:
        replay_path: replay.csv of a run.
        output: folder of the plots.
    """
    set_style(settings)
    for method, replay in read_table(replay_path, REPLAY_COLUMNS).groupby("method", sort=False):
        save(_agreement(str(method), replay), output / f"replay_agreement_{method}", settings)
        save(_frechet(str(method), replay), output / f"replay_frechet_{method}", settings)


def _agreement(method: str, replay: pd.DataFrame) -> Figure:
    """One row per GAN, one column per class."""
    replay = with_common_labels(replay)
    table = 100 * replay.pivot_table(index="after_task", columns="label", values="agreement", aggfunc="mean")
    names = dict(zip(replay["label"], replay["class_name"], strict=True))
    of_bands = list(bands(len(names)))
    columns = min(len(names), CLASSES_PER_BAND)
    figure, grid = plt.subplots(
        len(of_bands),
        1,
        figsize=(
            max(columns * 0.42 + 2.4, 6.5),
            len(of_bands) * (len(table) * 0.42 + names_height(names.values()) + 0.2),
        ),
        layout="constrained",
        squeeze=False,
    )
    for axes, classes in zip(grid[:, 0], of_bands, strict=True):
        band = table.reindex(columns=range(classes.start, classes.start + columns))
        sns.heatmap(
            band,
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
        axes.set(xlabel=None, ylabel="GAN of task")
        axes.grid(visible=False)
    scale = figure.colorbar(grid[0, 0].collections[0], ax=grid[:, 0].tolist(), aspect=25)
    scale.set_label("agreement (%)")
    note = over_seeds(replay["seed"].nunique(), "mean")
    set_title(
        figure, f"{method}: share of replay that the classifier assigns to the requested class\n({note})"
    )
    return figure


def _frechet(method: str, replay: pd.DataFrame) -> Figure:
    """One line for the classes of each task, over the GANs that replay them."""
    of_tasks = (
        replay.groupby(["seed", "after_task", "eval_task"])[["frechet", "frechet_of_held_out"]]
        .mean()
        .reset_index()
    )
    tasks = sorted(of_tasks["eval_task"].unique())
    colors = task_colors(tasks)
    seeds = of_tasks["seed"].nunique()
    figure, axes = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
    for column, style, marker in (("frechet", "-", "o"), ("frechet_of_held_out", ":", ".")):
        sns.lineplot(
            of_tasks,
            x="after_task",
            y=column,
            hue="eval_task",
            palette=colors,
            errorbar="sd" if seeds > 1 and column == "frechet" else None,
            linestyle=style,
            marker=marker,
            legend=False,
            ax=axes,
        )
    axes.set(
        xlabel="GAN of task",
        ylabel="Fréchet distance (squared features)",
        yscale="log",
        xticks=sorted(of_tasks["after_task"].unique()),
    )
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
