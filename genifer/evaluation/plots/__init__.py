"""The plots of a run: what they have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genifer.config import METHODS, PlotSettings
from genifer.runtime.files import whole_file

FORMATS = ("png", "svg")
CLASSES_A_BAND = 25
"""Columns of a picture with one column a class, before it goes on in a band below."""

Color = tuple[float, float, float]


def set_style(settings: PlotSettings) -> None:
    sns.set_theme(context=settings.context, style=settings.style, palette=settings.palette)
    # SVG files that are the same for the same data, with text that can be searched.
    plt.rcParams["svg.hashsalt"] = "genifer"
    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["axes.titlesize"] = "medium"


def method_colors(settings: PlotSettings) -> dict[str, Color]:
    """The same colour for a method in every plot."""
    return dict(zip(METHODS, sns.color_palette(settings.palette), strict=False))


def task_colors(tasks: Sequence[int]) -> dict[int, Color]:
    """From dark to light in the order of the tasks, which do not mean methods."""
    return dict(zip(tasks, sns.color_palette("flare_r", len(tasks)), strict=True))


def bands(n_classes: int) -> Iterator[range]:
    """The classes of each band of a picture with one column a class."""
    for first in range(0, n_classes, CLASSES_A_BAND):
        yield range(first, min(first + CLASSES_A_BAND, n_classes))


def name_columns(axes: Axes, centres: Sequence[float], names: Sequence[str]) -> None:
    """Names below columns, turned where they are long."""
    short = max(map(len, names)) <= 3
    axes.set_xticks(
        list(centres),
        list(names),
        rotation=0 if short else 60,
        ha="center" if short else "right",
        rotation_mode="anchor",
    )


def draw_sheet(axes: Axes, sheet: np.ndarray) -> None:
    """A picture (height, width, channels), without axes."""
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    sns.despine(ax=axes, left=True, bottom=True)


def seeds_note(count: int) -> str:
    return f"mean and standard deviation over {count} seeds" if count > 1 else "one seed"


def save(figure: Figure, path: Path, settings: PlotSettings) -> None:
    """Write a figure as <path>.png and <path>.svg, and close it."""
    for suffix in FORMATS:
        with whole_file(path.with_name(f"{path.name}.{suffix}")) as temporary:
            metadata = {"Date": None} if suffix == "svg" else None
            figure.savefig(temporary, dpi=settings.dpi, metadata=metadata)
    plt.close(figure)
