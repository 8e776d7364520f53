"""Sample grids of a GAN, one column per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from genifer.config import PlotSettings
from genifer.data.batches import Normalization, load_task_data
from genifer.errors import GeniferError
from genifer.evaluation import REPLAY_COLUMNS
from genifer.evaluation.replay import NEAREST
from genifer.evaluation.tables import read_table
from genifer.nn.generator import Generator
from genifer.report.plots import (
    CLASSES_PER_BAND,
    bands,
    draw_sheet,
    letter_width,
    line_height,
    name_columns,
    names_height,
    set_title,
)
from genifer.report.style import figure_size, save, scaled, set_style
from genifer.runtime.seeds import job_seed, seeded_generator
from genifer.runtime.tensors import load_tensors
from genifer.training.checkpoints import TrainedGan, load_classifier, load_gan
from genifer.training.replay import generate_replay

CPU = torch.device("cpu")

GAP = 1
"""Number of white pixels between images."""


def plot_sample_grids(
    settings: PlotSettings,
    group: str,
    seed: int,
    gan_path: Path,
    old_gan_path: Path | None,
    classifier_path: Path,
    nearest_path: Path,
    replay_path: Path | None,
    data_paths: Sequence[Path],
    output: Path,
) -> None:
    """Draw replay_<group>_seed_<s>_task_<t> and nearest_<group>_seed_<s>_task_<t>.

    The first shows for each class real images, samples of the old GAN and of this GAN, and the classifier's
    agreement. Both generators get the same latent vectors and noise, so that one sees how a sample has
    changed. The second shows for each class the replayed image nearest to a training image, that training
    image, and their distance.

    Args:
        group: group of the GAN's evaluation.
        gan_path: checkpoint of the GAN.
        old_gan_path: checkpoint of the GAN after the previous task; None on the first task.
        classifier_path: a classifier of the run, for the normalisation.
        nearest_path: ``nearest.safetensors`` of `evaluate_replay`.
        replay_path: ``replay.csv`` of `evaluate_replay`; None: show no agreement.
        data_paths: prepared files of the tasks that the GAN knows, in order.
        output: folder of the plots.

    Raises:
        GeniferError: the GAN generates features instead of images.
    """
    set_style(settings)
    gan = load_gan(gan_path, CPU)
    if gan.generator.stage > 0:
        raise GeniferError(
            f"{gan_path}: generates features of stage {gan.generator.stage} (gan.matching_mode: direct), "
            "which are no images; there is nothing to draw"
        )
    task = len(data_paths) - 1
    which = f"{group}_seed_{seed}_task_{task}"
    title = f"after task {task} ({group}, seed {seed})"
    normalize = load_classifier(classifier_path, CPU).normalization
    n_classes, rows = gan.n_classes_seen, settings.replay_images_per_class
    rng = seeded_generator(job_seed(seed, "plot_replay", 0), CPU)
    z = torch.randn(rows * n_classes, gan.generator.latent_dim, generator=rng)
    noise = gan.generator.draw_noise(len(z), rng)
    blocks = {"real": _real_images(data_paths, n_classes, rows)}
    if old_gan_path is None:
        blocks["replayed"] = _replayed(gan, z, noise, normalize, n_classes)
    else:
        blocks["old\ngenerator"] = _replayed(load_gan(old_gan_path, CPU), z, noise, normalize, n_classes)
        blocks["new\ngenerator"] = _replayed(gan, z, noise, normalize, n_classes)
    names = load_task_data([data_paths[0]], CPU).class_names[:n_classes]
    notes = None if replay_path is None else _agreements(replay_path, n_classes)
    figure = _sample_grid(settings, blocks, names, f"Replay {title}", "agreement\nof replay (%)", notes)
    save(figure, output / f"replay_{which}", settings)

    tensors, description = load_tensors(nearest_path, NEAREST)
    blocks = {"replayed": _rows(tensors["replayed"][None]), "nearest\nreal": _rows(tensors["training"][None])}
    figure = _sample_grid(
        settings,
        blocks,
        description["class_names"],
        f"Replay nearest to a training image\n{title}",
        "distance\n(grey levels)",
        _distances(tensors["replayed"], tensors["training"]),
    )
    save(figure, output / f"nearest_{which}", settings)


def _rows(images: Tensor) -> np.ndarray:
    """Convert uint8 (rows, classes, channels, size, size) to (rows, classes, size, size, channels)."""
    return images.permute(0, 1, 3, 4, 2).numpy()


def _real_images(data_paths: Sequence[Path], n_classes: int, rows: int) -> np.ndarray:
    """Return the first images of each class; white if a class has fewer."""
    per_class: dict[int, Tensor] = {}
    for path in data_paths:
        data = load_task_data([path], CPU)
        for label in range(data.n_old, data.n_old + data.n_new):
            per_class[label] = data.of_class(label)[:rows]
    size = data.images.shape[1:]
    images = torch.full((rows, n_classes, *size), 255, dtype=torch.uint8)
    for label, of_class in per_class.items():
        images[: len(of_class), label] = of_class
    return _rows(images)


@torch.inference_mode()
def _replayed(
    gan: TrainedGan, z: Tensor, noise: list[Tensor], normalize: Normalization, n_classes: int
) -> np.ndarray:
    """Generate samples of the classes that the GAN knows; white for the others."""
    generator: Generator = gan.generator.eval()
    rows = len(z) // n_classes
    labels = torch.arange(n_classes).repeat(rows)
    known = labels < gan.n_classes_seen
    made = generate_replay(generator, z[known], labels[known], [level[known] for level in noise], normalize)
    images = torch.full((len(z), *made.shape[1:]), 255, dtype=torch.uint8)
    images[known] = normalize.to_pixels(made)
    return _rows(images.view(rows, n_classes, *made.shape[1:]))


def _agreements(replay_path: Path, n_classes: int) -> list[str]:
    """Return the agreement of each class in per cent; empty if unknown."""
    replay = read_table(replay_path, REPLAY_COLUMNS)
    shares = dict(zip(replay["label"], 100 * replay["agreement"], strict=True))
    return [f"{shares[label]:.0f}" if label in shares else "" for label in range(n_classes)]


def _distances(first: Tensor, second: Tensor) -> list[str]:
    """Return root mean square distances between images of shape (classes, channels, size, size)."""
    squares = (first.double() - second.double()).square().flatten(1).mean(1)
    return [f"{distance:.0f}" for distance in squares.sqrt().tolist()]


def _sample_grid(
    settings: PlotSettings,
    blocks: dict[str, np.ndarray],
    names: Sequence[str],
    title: str,
    note: str,
    notes: Sequence[str] | None,
) -> Figure:
    """Draw blocks of images (rows, classes, size, size, channels) below each other, in bands of classes.

    Args:
        note, notes: heading of the values above the columns, and these values; None: no values.
    """
    size = next(iter(blocks.values())).shape[2]
    n_rows = sum(len(images) for images in blocks.values())
    of_bands = list(bands(len(names)))
    columns = min(len(names), CLASSES_PER_BAND)
    margin = 14 * letter_width()
    cell = scaled(settings, 0.55 if len(of_bands) == 1 else 0.42)
    width, _ = figure_size(settings, max(columns * cell + margin, 5.0), 1, column=columns <= 10)
    cell = min(cell, (width - margin) / columns)
    above = 2.2 * line_height() if notes else 0.0
    height = n_rows * cell + above + names_height(names) + scaled(settings, 0.2)
    of_title = 1.3 * line_height() * (title.count("\n") + 1)
    figure, grid = plt.subplots(
        *(len(of_bands), 1),
        figsize=(width, len(of_bands) * height + of_title),
        layout="constrained",
        squeeze=False,
    )
    for axes, classes in zip(grid[:, 0], of_bands, strict=True):
        sheets, centres, top = [], [], 0
        for images in blocks.values():
            sheet = _sheet(images[:, classes.start : classes.stop], columns)
            sheets.append(sheet)
            centres.append(top + sheet.shape[0] / 2)
            top += sheet.shape[0] + 4 * GAP
            sheets.append(np.full((4 * GAP, *sheet.shape[1:]), 255, dtype=np.uint8))
        draw_sheet(axes, np.concatenate(sheets[:-1]))
        middles = [index * (size + GAP) + size / 2 for index in range(len(classes))]
        name_columns(axes, middles, [names[label] for label in classes])
        axes.set_yticks(centres, list(blocks))
        if notes:
            _write_above(axes, note, (-0.5, *middles), [notes[label] for label in classes])
    set_title(figure, title)
    return figure


def _write_above(axes: Axes, note: str, places: Sequence[float], notes: Sequence[str]) -> None:
    """Write a value above each column of a sheet, and the heading of the values to their left."""
    left, *centres = places
    above: dict[str, Any] = {"xycoords": "data", "textcoords": "offset points", "size": "small"}
    axes.annotate(note, (left, -0.5), xytext=(-6, 4), ha="right", va="bottom", **above)
    for centre, text in zip(centres, notes, strict=True):
        axes.annotate(text, (centre, -0.5), xytext=(0, 4), ha="center", va="bottom", **above)


def _sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Join images (rows, classes, size, size, channels) into one sheet, padded to this number of columns."""
    rows, classes, size, _, channels = images.shape
    sheet = np.full((rows * (size + GAP) - GAP, columns * (size + GAP) - GAP, channels), 255, dtype=np.uint8)
    for row in range(rows):
        for column in range(classes):
            top, left = row * (size + GAP), column * (size + GAP)
            sheet[top : top + size, left : left + size] = images[row, column]
    return sheet
