"""Curves of all scalars that trainings log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from genifer.config import PlotSettings
from genifer.evaluation import FIRST_TASK_JOB, TRAINING_COLUMNS
from genifer.evaluation.tables import read_table
from genifer.report.plots import (
    empty_figure,
    legend_below,
    of_seeds,
    seeds_note,
    set_title,
    step_ticks,
)
from genifer.report.style import Color, figure_size, save, set_style, task_colors
from genifer.versions import GAN_JOBS

PANELS = {
    "g_loss": ("Generator loss", "loss (nats)"),
    "d_loss": ("Discriminator loss", "loss (nats)"),
    "r1": ("Gradient penalty R1", "penalty (nats)"),
    "sign_of_d_real": ("Sign of D(real)", "mean sign"),
    "ada_probability": ("Augmentation (ADA)", "probability"),
    "diversity": ("Diversity (EMA)", "relative to real images"),
    "ema_distance": ("Distance of the EMA", "relative distance"),
    "d_real": ("D(real)", "logit"),
    "d_fake": ("D(generated)", "logit"),
    "d_spread": ("Spread of the logits", "standard deviation"),
    "g_guidance": ("Guidance of the generator", "loss (nats)"),
    "g_distillation": ("Distillation of the generator", "distance"),
    "g_feature_means": ("Distance of the feature means", "distance"),
    "loss": ("Loss", "loss"),
    "accuracy": ("Accuracy on the batches", "share"),
    "cross_entropy": ("Cross-entropy", "loss (nats)"),
}
"""Title and y-axis of each scalar's panel; scalars that show whether a GAN trains well come first."""

IDEAL = {"diversity": 1.0, "sign_of_d_real": 0.0}

NOTHING_LOGGED = "these trainings log no scalars"

MOST_COLUMNS = 4


def plot_training(settings: PlotSettings, training_path: Path, output: Path) -> None:
    """Draw the curves of all trainings.

    training_first_task shows the classifier's training on the first task, training_<label> the other
    classifier trainings of a label, and training_gan_<label> its GAN trainings.

    Args:
        training_path: training.csv of a run.
        output: folder of the plots.
    """
    set_style(settings)
    table = read_table(training_path, TRAINING_COLUMNS)
    first = table["job"] == FIRST_TASK_JOB
    if first.any():
        save(_first_task(settings, table[first]), output / "training_first_task", settings)
    tasks = range(int(table["task"].max()) + 1) if len(table) else range(0)
    colors = {f"task {task}": color for task, color in task_colors(tasks).items()}
    for method, of_method in table[~first].groupby("method", sort=False):
        of_gan = of_method["job"].isin(GAN_JOBS)
        for rows, title, name in (
            (of_method[~of_gan], f"Classifier of {method}", f"training_{method}"),
            (of_method[of_gan], f"GAN of {method}", f"training_gan_{method}"),
        ):
            if not rows.empty:
                entries = "task " + rows["task"].astype(str)
                save(_curves(settings, title, rows.assign(entry=entries), colors), output / name, settings)


def _first_task(settings: PlotSettings, table: pd.DataFrame) -> Figure:
    """Return each shared training once, with one entry per group of methods that share it."""
    owners: dict[object, list[str]] = {}
    for method, rows in table.groupby("method", sort=False):
        curves = tuple(rows[["seed", "step", "scalar", "value"]].itertuples(index=False, name=None))
        owners.setdefault(curves, []).append(str(method))
    names = {methods[0]: _some(methods) for methods in owners.values()}
    once = table[table["method"].isin(names)]
    colors = dict(zip(names.values(), sns.color_palette("viridis", len(names)), strict=True))
    title = "Classifier on the first task"
    return _curves(settings, title, once.assign(entry=once["method"].map(names)), colors)


def _some(methods: list[str]) -> str:
    return methods[0] if len(methods) == 1 else f"{methods[0]} and {len(methods) - 1} more"


def _curves(settings: PlotSettings, title: str, table: pd.DataFrame, colors: Mapping[str, Color]) -> Figure:
    """Draw one panel per scalar and one line per entry: mean over the seeds, with a band of the deviation."""
    scalars = _shown(table)
    if not scalars:
        return empty_figure(f"{title}: {NOTHING_LOGGED}")
    figure, panels = _panels(settings, scalars)
    last = int(table["step"].max())
    entries = [entry for entry in colors if (table["entry"] == entry).any()]
    for axes, scalar in panels:
        points = of_seeds(table[table["scalar"] == scalar].dropna(), ["entry", "step"], "value")
        for entry in entries:
            line = points[points["entry"] == entry].sort_values("step")
            axes.plot(line["step"], line["mean"], color=colors[entry], linewidth=1)
            low, high = line["mean"] - line["std"], line["mean"] + line["std"]
            axes.fill_between(line["step"], low, high, color=colors[entry], alpha=0.2, linewidth=0)
        if scalar in IDEAL:
            axes.axhline(IDEAL[scalar], color="0.3", linestyle=":", linewidth=1.2)
        name, unit = PANELS.get(scalar, (scalar.replace("_", " ").capitalize(), "value"))
        axes.set(title=name, ylabel=unit, xlabel="step", xlim=(0, last))
        step_ticks(axes, last)
    set_title(figure, f"{title} ({seeds_note(table['seed'].nunique())})")
    handles = [Line2D([], [], color=colors[entry], label=entry) for entry in entries]
    if any(scalar in IDEAL for scalar in scalars):
        handles.append(Line2D([], [], color="0.3", linestyle=":", label="ideal value"))
    if len(handles) > 1:
        legend_below(figure, handles)
    return figure


def _shown(table: pd.DataFrame) -> list[str]:
    """Return the scalars that are not always zero, as those of a disabled loss are."""
    used = table[table["value"].fillna(0) != 0]
    scalars = list(dict.fromkeys(used.dropna(subset=["scalar"])["scalar"]))
    known = [scalar for scalar in PANELS if scalar in scalars]
    return [*known, *(scalar for scalar in scalars if scalar not in PANELS)]


def _panels(settings: PlotSettings, scalars: Sequence[str]) -> tuple[Figure, list[tuple[Axes, str]]]:
    """Make a figure with one panel per scalar, in as many columns as leave the fewest empty places."""
    n = len(scalars)
    choices = range(min(3, n), min(MOST_COLUMNS, n) + 1)
    columns = 2 if n == MOST_COLUMNS else min(choices, key=lambda count: -n % count)
    rows = -(-n // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=figure_size(settings, max(4 * columns, 6), 2.8 * rows, column=columns == 1),
        layout="constrained",
        squeeze=False,
    )
    for axes in grid.flat[n:]:
        axes.remove()
    return figure, list(zip(grid.flat[:n], scalars, strict=True))
