"""The course of trainings: all their scalars, and for the GAN those that tell how it fares."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from genifer.config import PlotSettings
from genifer.evaluation.plots import save, seeds_note, set_style, task_colors

PICTURES = {
    "training_first_task": ("pretrain_classifier",),
    "training_gan": ("pretrain_gan", "train_gan"),
    "training_genifer": ("train_genifer",),
    "training_finetune": ("train_finetune",),
    "training_joint": ("train_joint",),
}
"""The pictures of training curves, and the stages that each shows."""

GAN_PANELS = {
    "g_loss": ("Generator's loss", "loss (nats)"),
    "d_loss": ("Discriminator's loss", "loss (nats)"),
    "r1": ("Gradient penalty R1", "penalty (nats)"),
    "sign_of_d_real": ("Signs of D(real)", "mean sign"),
    "ada_probability": ("Augmentation (ADA)", "probability"),
    "diversity": ("Diversity of the averaged generator", "relative to real images"),
    "ema_distance": ("Running average (EMA)", "relative distance"),
}
"""The scalars that tell how a GAN fares: title and axis of each panel."""

IDEAL = {"diversity": 1.0, "sign_of_d_real": 0.0}


def plot_training(settings: PlotSettings, training_path: Path, output: Path) -> None:
    """Curves of trainings, as PNG and SVG.

    Args:
        training_path: training.csv of a run.
        output: folder of the pictures: one a stage with all its scalars (both GAN stages share one), and
            gan_training with those of `GAN_PANELS`.
    """
    set_style(settings)
    table = pd.read_csv(training_path)
    for picture, stages in PICTURES.items():
        of_stages = table[table["stage"].isin(stages)]
        if not of_stages.empty:
            title = picture.removeprefix("training_").replace("_", " ")
            save(_training_curves(f"Training: {title}", of_stages), output / picture, settings)
    of_gan = table[table["stage"].isin(PICTURES["training_gan"])]
    if not of_gan.empty:
        save(_gan_training(of_gan), output / "gan_training", settings)


def _training_curves(title: str, table: pd.DataFrame) -> Figure:
    trainings = [f"task {task}, seed {seed}" for task, seed in zip(table["task"], table["seed"], strict=True)]
    table = table.assign(training=trainings)
    scalars = list(dict.fromkeys(table["scalar"]))
    figure, panels = _panels(scalars)
    names = list(dict.fromkeys(trainings))
    palette = dict(zip(names, sns.color_palette("viridis", len(names)), strict=True))
    for axes, scalar in panels:
        sns.lineplot(
            table[table["scalar"] == scalar],
            x="step",
            y="value",
            hue="training",
            palette=palette,
            errorbar=None,
            legend=False,
            linewidth=1,
            ax=axes,
        )
        axes.set(title=scalar.replace("_", " "), ylabel=None)
    handles = [Line2D([], [], color=palette[name], label=name) for name in names]
    figure.suptitle(title)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(names)))
    return figure


def _gan_training(table: pd.DataFrame) -> Figure:
    scalars = [scalar for scalar in GAN_PANELS if scalar in set(table["scalar"])]
    figure, panels = _panels(scalars)
    tasks = sorted(table["task"].unique())
    colors = task_colors(tasks)
    seeds = table["seed"].nunique()
    for axes, scalar in panels:
        sns.lineplot(
            table[table["scalar"] == scalar],
            x="step",
            y="value",
            hue="task",
            palette=colors,
            errorbar="sd" if seeds > 1 else None,
            legend=False,
            linewidth=1.2,
            ax=axes,
        )
        if scalar in IDEAL:
            axes.axhline(IDEAL[scalar], color="0.3", linestyle=":", linewidth=1.2)
        axes.set(title=GAN_PANELS[scalar][0], ylabel=GAN_PANELS[scalar][1])
    figure.suptitle(f"Did the GAN train well? ({seeds_note(seeds)})")
    handles = [Line2D([], [], color=colors[task], label=f"GAN of task {task}") for task in tasks]
    handles.append(Line2D([], [], color="0.3", linestyle=":", label="balance, or as diverse as real images"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
    return figure


def _panels(scalars: list[str]) -> tuple[Figure, list[tuple[Axes, str]]]:
    """A figure with a panel for each scalar."""
    columns = min(3, len(scalars))
    rows = -(-len(scalars) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4 * columns, 2.8 * rows + 1.2), layout="constrained", squeeze=False
    )
    for axes in list(grid.flat)[len(scalars) :]:
        axes.set_axis_off()
    panels = list(zip(grid.flat, scalars, strict=False))
    for axes, _ in panels:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure, panels
