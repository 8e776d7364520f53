"""The plots of a run, from its tables and metrics."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from genifer.config import METHODS, PlotSettings
from genifer.evaluation.tables import forgetting, incremental_accuracy
from genifer.runtime.files import whole_file

FORMATS = ("png", "svg")


def set_style(settings: PlotSettings) -> None:
    sns.set_theme(context=settings.context, style=settings.style, palette=settings.palette)
    # SVG files that are the same for the same data, with text that can be searched.
    plt.rcParams["svg.hashsalt"] = "genifer"
    plt.rcParams["svg.fonttype"] = "none"


def method_colors(settings: PlotSettings) -> dict[str, tuple[float, float, float]]:
    """The same colour for a method in every plot."""
    return dict(zip(METHODS, sns.color_palette(settings.palette), strict=False))


def plot_accuracy(settings: PlotSettings, accuracy_path: Path, output: Path) -> None:
    """accuracy, accuracy_matrix_<method> and forgetting, each as PNG and SVG."""
    set_style(settings)
    accuracy = pd.read_csv(accuracy_path)
    save(_accuracy_over_classes(settings, accuracy), output / "accuracy", settings)
    for method, of_method in accuracy.groupby("method", sort=False):
        save(_accuracy_matrix(str(method), of_method), output / f"accuracy_matrix_{method}", settings)
    save(_forgetting_per_task(settings, accuracy), output / "forgetting", settings)


def _accuracy_over_classes(settings: PlotSettings, accuracy: pd.DataFrame) -> Figure:
    steps = incremental_accuracy(accuracy)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    sns.lineplot(
        steps,
        x="classes_seen",
        y="accuracy",
        hue="method",
        style="method",
        markers=True,
        dashes=False,
        palette=method_colors(settings),
        errorbar="sd",
        ax=axes,
    )
    seeds = accuracy["seed"].nunique()
    note = f"mean and standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    axes.set(
        title=f"Accuracy as classes are learned\n({note})",
        xlabel="classes learned so far",
        ylabel="accuracy on all of them",
        ylim=(0, 1.02),
        xticks=sorted(steps["classes_seen"].unique()),
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(title=None)
    return figure


def _accuracy_matrix(method: str, accuracy: pd.DataFrame) -> Figure:
    matrix = accuracy.pivot_table(index="after_task", columns="eval_task", values="accuracy", aggfunc="mean")
    n = len(matrix)
    figure, axes = plt.subplots(figsize=(2.6 + 0.75 * n, 1.9 + 0.62 * n), layout="constrained")
    sns.heatmap(
        100 * matrix,
        vmin=0,
        vmax=100,
        cmap="viridis",
        annot=n <= 20,
        fmt=".0f",
        square=True,
        linewidths=0.5,
        cbar_kws={"label": "accuracy (%)"},
        ax=axes,
    )
    axes.set(title=f"{method}: accuracy on each task", xlabel="on task", ylabel="after task")
    axes.tick_params(axis="y", rotation=0)
    axes.grid(visible=False)
    return figure


def _forgetting_per_task(settings: PlotSettings, accuracy: pd.DataFrame) -> Figure:
    table = forgetting(accuracy)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.set(title="Forgetting: best accuracy on a task before the last one,\nless the accuracy at the end")
    if table.empty:
        axes.text(0.5, 0.5, "a single task: nothing to forget", ha="center", transform=axes.transAxes)
        return figure
    sns.barplot(
        table,
        x="eval_task",
        y="forgetting",
        hue="method",
        palette=method_colors(settings),
        errorbar="sd" if table["seed"].nunique() > 1 else None,
        ax=axes,
    )
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set(xlabel="task", ylabel="accuracy lost")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), title=None)
    return figure


PICTURES = {
    "training_first_task": ("pretrain_classifier",),
    "training_gan": ("pretrain_gan", "train_gan"),
    "training_genifer": ("train_genifer",),
    "training_finetune": ("train_finetune",),
    "training_joint": ("train_joint",),
}
"""The pictures of training curves, and the stages that each shows."""


def plot_training(settings: PlotSettings, training_path: Path, output: Path) -> None:
    """Curves of trainings: one panel a scalar and one line a training, as PNG and SVG.

    Args:
        training_path: training.csv of a run.
        output: folder of the pictures, one a stage (both GAN stages share one).
    """
    set_style(settings)
    table = pd.read_csv(training_path)
    table["training"] = [
        f"task {task}, seed {seed}" for task, seed in zip(table["task"], table["seed"], strict=True)
    ]
    for picture, stages in PICTURES.items():
        of_stages = table[table["stage"].isin(stages)]
        if not of_stages.empty:
            title = picture.removeprefix("training_").replace("_", " ")
            save(_training_curves(f"Training: {title}", of_stages), output / picture, settings)


def _training_curves(title: str, table: pd.DataFrame) -> Figure:
    scalars = list(dict.fromkeys(table["scalar"]))
    columns = min(3, len(scalars))
    rows = -(-len(scalars) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4.6 * columns, 3.1 * rows + 1.2), layout="constrained", squeeze=False
    )
    names = list(dict.fromkeys(table["training"]))
    palette = dict(zip(names, sns.color_palette("viridis", len(names)), strict=True))
    for axes, scalar in zip(grid.flat, scalars, strict=False):
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
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in list(grid.flat)[len(scalars) :]:
        axes.set_axis_off()
    handles = [Line2D([], [], color=palette[name], label=name) for name in names]
    figure.suptitle(title)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(2 * columns, len(names)))
    return figure


def save(figure: Figure, path: Path, settings: PlotSettings) -> None:
    """Write a figure as <path>.png and <path>.svg, and close it."""
    for suffix in FORMATS:
        with whole_file(path.with_name(f"{path.name}.{suffix}")) as temporary:
            metadata = {"Date": None} if suffix == "svg" else None
            figure.savefig(temporary, dpi=settings.dpi, metadata=metadata)
    plt.close(figure)
