"""What a GAN replays, as a picture: one column a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure

from genifer.config import PlotSettings
from genifer.data.batches import load_task_data
from genifer.errors import GeniferError
from genifer.evaluation.plots import save, set_style
from genifer.runtime.seeds import seeded_generator, stage_seed
from genifer.training.checkpoints import load_classifier, load_gan
from genifer.training.genifer import replay


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
    if gan.generator.stage > 0:
        raise GeniferError(
            f"{gan_path}: makes features of stage {gan.generator.stage} (gan.matching_mode: direct), "
            "no images; there is nothing to draw"
        )
    normalize = load_classifier(classifier_path, device).normalization
    names = load_task_data([data_path], device).class_names
    n_classes, rows = gan.n_classes_seen, settings.replay_images_per_class
    rng = seeded_generator(stage_seed(seed, "plot_replay", 0), device)
    labels = torch.arange(n_classes).repeat(rows)
    generator = gan.generator.eval()
    z = torch.randn(len(labels), generator.latent_dim, generator=rng, device=device)
    images = replay(generator, z, labels, generator.draw_noise(len(labels), rng), normalize)
    pixels = normalize.to_pixels(images).numpy()
    save(_palette(pixels, names[:n_classes], rows), output, settings)


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
