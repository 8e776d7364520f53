"""The plots of a run, from its tables and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from genifer.config import METHODS, PlotSettings
from genifer.data.batches import load_task_data
from genifer.evaluation.tables import forgetting, incremental_accuracy
from genifer.runtime.files import whole_file
from genifer.runtime.seeds import seeded_generator, stage_seed
from genifer.training.checkpoints import load_classifier, load_gan
from genifer.training.genifer import replay

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
    _save(_accuracy_over_classes(settings, accuracy), output / "accuracy", settings)
    for method, of_method in accuracy.groupby("method", sort=False):
        _save(_accuracy_matrix(str(method), of_method), output / f"accuracy_matrix_{method}", settings)
    _save(_forgetting_per_task(settings, accuracy), output / "forgetting", settings)


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


def plot_replay(
    settings: PlotSettings, seed: int, gan_path: Path, classifier_path: Path, data_path: Path, output: Path
) -> None:
    """A palette of replayed images: one column a class, as PNG and SVG.

    Args:
        classifier_path: the classifier that the GAN was trained against (for the normalisation).
        data_path: any prepared file of the run (for the class names).
        output: path of the picture without its suffix.
    """
    set_style(settings)
    device = torch.device("cpu")
    gan = load_gan(gan_path, device)
    normalize = load_classifier(classifier_path, device).normalization
    names = load_task_data([data_path], device).class_names
    n_classes, rows = gan.n_classes_seen, settings.replay_images_per_class
    rng = seeded_generator(stage_seed(seed, "plot_replay", 0), device)
    labels = torch.arange(n_classes).repeat(rows)
    pixels = normalize.to_pixels(replay(gan.generator.eval(), labels, normalize, rng)).numpy()
    _save(_palette(pixels, names[:n_classes], rows), output, settings)


def _palette(pixels: np.ndarray, names: Sequence[str], rows: int) -> Figure:
    """Images (rows * classes, channels, size, size), class by class within a row."""
    classes, size = len(names), pixels.shape[-1]
    per_band = min(classes, 25)
    bands = -(-classes // per_band)
    cell = 0.55 if bands == 1 else 0.42
    figure, grid = plt.subplots(
        bands,
        1,
        figsize=(max(per_band * cell + 0.6, 4.0), bands * (rows * cell + 1.0)),
        layout="constrained",
        squeeze=False,
    )
    images = pixels.reshape(rows, classes, -1, size, size).transpose(0, 1, 3, 4, 2)
    for band, axes in enumerate(grid[:, 0]):
        first = band * per_band
        shown = images[:, first : first + per_band]
        count = shown.shape[1]
        sheet = np.full(
            (rows * (size + 1) - 1, per_band * (size + 1) - 1, shown.shape[-1]), 255, dtype=np.uint8
        )
        for row in range(rows):
            for column in range(count):
                top, left = row * (size + 1), column * (size + 1)
                sheet[top : top + size, left : left + size] = shown[row, column]
        axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xticks(
            [column * (size + 1) + size / 2 for column in range(count)],
            names[first : first + count],
            rotation=0 if max(map(len, names)) <= 3 else 60,
            ha="center" if max(map(len, names)) <= 3 else "right",
        )
        axes.set_yticks([])
        axes.grid(visible=False)
        sns.despine(ax=axes, left=True, bottom=True)
    figure.suptitle(f"Replayed images of {classes} classes,\none column a class")
    return figure


def plot_training(settings: PlotSettings, metrics: Sequence[tuple[str, Path]], output: Path) -> None:
    """Curves of all trainings of one kind, one panel a scalar and one line a training, as PNG and SVG.

    Args:
        metrics: the name of each training and its metrics.csv.
        output: path of the picture without its suffix.
    """
    set_style(settings)
    table = pd.concat([pd.read_csv(path).assign(training=name) for name, path in metrics], ignore_index=True)
    scalars = [column for column in table.columns if column not in ("step", "training")]
    columns = min(3, len(scalars))
    rows = -(-len(scalars) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4.6 * columns, 3.1 * rows + 0.5), layout="constrained", squeeze=False
    )
    names = list(dict.fromkeys(table["training"]))
    palette = dict(zip(names, sns.color_palette("viridis", len(names)), strict=True))
    for axes, scalar in zip(grid.flat, scalars, strict=False):
        sns.lineplot(
            table,
            x="step",
            y=scalar,
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
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(names)))
    return _save(figure, output, settings)


def _save(figure: Figure, path: Path, settings: PlotSettings) -> None:
    for suffix in FORMATS:
        with whole_file(path.with_name(f"{path.name}.{suffix}")) as temporary:
            metadata = {"Date": None} if suffix == "svg" else None
            figure.savefig(temporary, dpi=settings.dpi, metadata=metadata)
    plt.close(figure)
