"""Curves of trainings: all their scalars, and for GANs those that tell whether a training went well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from genifer.config import PlotSettings
from genifer.evaluation import FIRST_TASK_JOB, TRAINING_COLUMNS
from genifer.evaluation.tables import read_table
from genifer.report.plots import (
    Color,
    empty_figure,
    legend_below,
    save,
    seeds_note,
    set_style,
    set_title,
    task_colors,
)
from genifer.versions import GAN_JOBS

GAN_PANELS = {
    "g_loss": ("Generator loss", "loss (nats)"),
    "d_loss": ("Discriminator loss", "loss (nats)"),
    "r1": ("Gradient penalty R1", "penalty (nats)"),
    "sign_of_d_real": ("Sign of D(real)", "mean sign"),
    "ada_probability": ("Augmentation (ADA)", "probability"),
    "diversity": ("Diversity (EMA)", "relative to real images"),
    "ema_distance": ("Distance of the EMA", "relative distance"),
}
"""Scalars that tell whether a GAN trains well: title and y-axis of each panel."""

IDEAL = {"diversity": 1.0, "sign_of_d_real": 0.0}

NOTHING_LOGGED = "these trainings log no scalars"


def plot_training(settings: PlotSettings, training_path: Path, output: Path) -> None:
    """Draw the curves of all trainings, as PNG and SVG.

    training_first_task shows the classifier's training on the first task, training_<label> a label's other
    trainings of a classifier, training_gan_<label> those of its GAN, and gan_training_<label> the scalars in
    `GAN_PANELS`.

    Args:
        training_path: training.csv of a run.
        output: folder of the plots.
    """
    set_style(settings)
    table = read_table(training_path, TRAINING_COLUMNS)
    first = table["job"] == FIRST_TASK_JOB
    if first.any():
        figure = _first_task(table[first])
        save(figure, output / "training_first_task", settings)
    for method, of_method in table[~first].groupby("method", sort=False):
        of_gan = of_method["job"].isin(GAN_JOBS)
        if not of_gan.all():
            figure = _training_curves(f"Classifier of {method}", of_method[~of_gan])
            save(figure, output / f"training_{method}", settings)
        if of_gan.any():
            figure = _training_curves(f"GAN of {method}", of_method[of_gan])
            save(figure, output / f"training_gan_{method}", settings)
            figure = _gan_training(str(method), of_method[of_gan])
            save(figure, output / f"gan_training_{method}", settings)


def _first_task(table: pd.DataFrame) -> Figure:
    """Each training once, whichever methods share it; coloured by methods if their trainings differ."""
    owners: dict[object, list[str]] = {}
    for (method, seed), rows in table.groupby(["method", "seed"], sort=False):
        curves = (seed, *rows[["step", "scalar", "value"]].itertuples(index=False, name=None))
        owners.setdefault(curves, []).append(str(method))
    names = {methods[0]: _some(methods) for methods in owners.values()}
    once = table[table["method"].isin(names)]
    entries = once["method"].map(names) if len(names) > 1 else "seed " + once["seed"].astype(str)
    shown = list(dict.fromkeys(entries))
    colors = dict(zip(shown, sns.color_palette("viridis", len(shown)), strict=True))
    return _curves("Classifier on the first task", once.assign(entry=entries), colors)


def _some(methods: list[str]) -> str:
    return methods[0] if len(methods) == 1 else f"{methods[0]} and {len(methods) - 1} more"


def _training_curves(title: str, table: pd.DataFrame) -> Figure:
    entries = "task " + table["task"].astype(str)
    colors = {f"task {task}": color for task, color in task_colors(sorted(table["task"].unique())).items()}
    return _curves(title, table.assign(entry=entries), colors)


def _curves(title: str, table: pd.DataFrame, colors: Mapping[str, Color]) -> Figure:
    """One panel per scalar, one line per training, coloured by its entry in the legend."""
    table = table.dropna(subset=["scalar"])
    if table.empty:
        return empty_figure(f"{title}: {NOTHING_LOGGED}")
    scalars = list(dict.fromkeys(table["scalar"]))
    trainings = table.groupby(["method", "job", "seed", "task"], sort=False).ngroup()
    figure, panels = _panels(scalars)
    for axes, scalar in panels:
        sns.lineplot(
            table.assign(training=trainings)[table["scalar"] == scalar],
            x="step",
            y="value",
            hue="entry",
            palette=dict(colors),
            units="training",
            estimator=None,
            legend=False,
            linewidth=1,
            ax=axes,
        )
        axes.set(title=scalar.replace("_", " "), ylabel=None)
    set_title(figure, title)
    legend_below(figure, [Line2D([], [], color=color, label=name) for name, color in colors.items()])
    return figure


def _gan_training(method: str, table: pd.DataFrame) -> Figure:
    scalars = [scalar for scalar in GAN_PANELS if scalar in set(table["scalar"])]
    if not scalars:
        return empty_figure(f"GAN of {method}: {NOTHING_LOGGED}")
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
    set_title(figure, f"GAN of {method}: health of the training ({seeds_note(seeds)})")
    handles = [Line2D([], [], color=colors[task], label=f"task {task}") for task in tasks]
    handles.append(Line2D([], [], color="0.3", linestyle=":", label="ideal value"))
    legend_below(figure, handles)
    return figure


def _panels(scalars: list[str]) -> tuple[Figure, list[tuple[Axes, str]]]:
    """A figure with one panel per scalar."""
    columns = min(3, len(scalars))
    rows = -(-len(scalars) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(max(4 * columns, 6), 2.8 * rows), layout="constrained", squeeze=False
    )
    for axes in list(grid.flat)[len(scalars) :]:
        axes.set_axis_off()
    panels = list(zip(list(grid.flat)[: len(scalars)], scalars, strict=True))
    for axes, _ in panels:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure, panels
