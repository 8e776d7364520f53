"""Whether the replay is any good, class by class and over the generations of the GAN."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from genifer.config import PlotSettings
from genifer.evaluation.plots import (
    CLASSES_A_BAND,
    bands,
    name_columns,
    save,
    seeds_note,
    set_style,
    task_colors,
)
from genifer.evaluation.tables import read_table


def plot_replay_quality(settings: PlotSettings, replay_path: Path, output: Path) -> None:
    """replay_agreement and replay_frechet, each as PNG and SVG, from replay.csv of a run."""
    set_style(settings)
    replay = read_table(replay_path)
    save(_agreement(replay), output / "replay_agreement", settings)
    save(_frechet(replay), output / "replay_frechet", settings)


def _agreement(replay: pd.DataFrame) -> Figure:
    """A row a GAN and a column a class."""
    table = 100 * replay.pivot_table(index="after_task", columns="label", values="agreement", aggfunc="mean")
    names = dict(zip(replay["label"], replay["class_name"], strict=True))
    of_bands = list(bands(len(names)))
    columns = min(len(names), CLASSES_A_BAND)
    figure, grid = plt.subplots(
        len(of_bands),
        1,
        figsize=(max(columns * 0.42 + 2.4, 6.5), len(of_bands) * (len(table) * 0.42 + 1.1) + 0.9),
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
    figure.suptitle(
        "Replayed images that the classifier takes\n"
        f"for the class asked for ({_mean_note(replay['seed'].nunique())})"
    )
    return figure


def _frechet(replay: pd.DataFrame) -> Figure:
    """A line for the classes of each task, over the GANs that replay them."""
    of_tasks = (
        replay.groupby(["seed", "after_task", "eval_task"])[["frechet", "frechet_of_held_out"]]
        .mean()
        .reset_index()
    )
    tasks = sorted(of_tasks["eval_task"].unique())
    colors = task_colors(tasks)
    seeds = of_tasks["seed"].nunique()
    figure, axes = plt.subplots(figsize=(7.5, 5.2), layout="constrained")
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
        title="Distance between replayed and real images in the features\n"
        f"that the GAN matches ({seeds_note(seeds)})",
        xlabel="GAN of task",
        ylabel="Fréchet distance (squared features)",
        yscale="log",
        xticks=sorted(of_tasks["after_task"].unique()),
    )
    handles = [
        Line2D([], [], color=colors[task], marker="o", label=f"classes of task {task}") for task in tasks
    ]
    handles.append(Line2D([], [], color="0.3", linestyle=":", marker=".", label="held-out real images"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _mean_note(seeds: int) -> str:
    return f"mean over {seeds} seeds" if seeds > 1 else "one seed"
