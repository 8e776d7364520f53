"""What the plots of a run have in common: style, colours, legends, files."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genifer.config import PlotSettings
from genifer.report.phrases import over_seeds
from genifer.runtime.files import atomic_write

# It remarks on every bar plot whose bars are numbered.
logging.getLogger("matplotlib.category").setLevel(logging.WARNING)

FORMATS = ("png", "svg")

CLASSES_PER_BAND = 25
"""Columns of a plot with one column per class, before it continues in a band below."""

LONGEST_NAME = 17
"""Characters of a class name that plots have room for."""

SHORT_NAME = 3
"""Characters of a name that stands upright below a column."""

MOST_LEGEND_COLUMNS = 6

Color = tuple[float, float, float]


def set_style(settings: PlotSettings) -> None:
    """Set seaborn's style, and make equal data give equal SVG files whose text can be searched."""
    sns.set_theme(context=settings.context, style=settings.style, palette=settings.palette)
    plt.rcParams["svg.hashsalt"] = "genifer"
    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["axes.titlesize"] = plt.rcParams["figure.titlesize"] = "medium"


def method_colors(labels: Iterable[str], settings: PlotSettings) -> dict[str, Color]:
    """Give each label a colour of its own: the palette's while it has enough, else evenly spaced hues.

    Args:
        labels: of the whole run in order, so that each has the same colour in every plot; repeats count once.
    """
    names = list(dict.fromkeys(labels))
    palette = sns.color_palette(settings.palette)
    colors = palette if len(names) <= len(palette) else sns.color_palette("husl", len(names))
    return dict(zip(names, colors[: len(names)], strict=True))


def task_colors(tasks: Sequence[int]) -> dict[int, Color]:
    """Give each task a colour, from dark to light in their order."""
    return dict(zip(tasks, sns.color_palette("flare_r", len(tasks)), strict=True))


def bands(n_classes: int) -> Iterator[range]:
    """Yield the classes of each band of a plot with one column per class."""
    for first in range(0, n_classes, CLASSES_PER_BAND):
        yield range(first, min(first + CLASSES_PER_BAND, n_classes))


def name_columns(axes: Axes, centres: Sequence[float], names: Sequence[str]) -> None:
    """Write names below columns, rotated where they are long."""
    short = max(map(len, names)) <= SHORT_NAME
    axes.set_xticks(
        list(centres),
        [short_name(name) for name in names],
        rotation=0 if short else 60,
        ha="center" if short else "right",
        rotation_mode="anchor",
    )


def short_name(name: str) -> str:
    """Cut a class name to the length that plots have room for; dollar signs begin no formula."""
    cut = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
    return cut.replace("$", r"\$")


def draw_sheet(axes: Axes, sheet: np.ndarray) -> None:
    """Show an image (height, width, channels) without axes."""
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    sns.despine(ax=axes, left=True, bottom=True)


def seeds_note(count: int) -> str:
    """Say what lines, bars and bands show."""
    return over_seeds(count, "mean and standard deviation")


def set_title(figure: Figure, text: str) -> None:
    """Give a figure a title, in lines that fit its width; the figure grows by its height."""
    title = wrapped(text, figure.get_figwidth())
    figure.suptitle(title)
    figure.set_figheight(figure.get_figheight() + line_height() * len(title.splitlines()))


def wrapped(text: str, inches: float) -> str:
    """Break the lines of a title so that each fits a width; labels may be long."""
    characters = max(int(inches / _letter_width()), 10)
    return "\n".join(textwrap.fill(line, characters) for line in text.splitlines())


def line_height() -> float:
    """Height of a line of a title in inches."""
    return 1.3 * float(plt.rcParams["font.size"]) / 72


def names_height(names: Iterable[str]) -> float:
    """Height in inches of what `name_columns` writes."""
    longest = max(map(len, map(short_name, names)))
    return line_height() + (0.0 if longest <= SHORT_NAME else 0.87 * longest * _letter_width())


def _letter_width() -> float:
    return 0.56 * float(plt.rcParams["font.size"]) / 72


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """Put a legend of labelled handles below the axes, in as many columns as fit; the figure grows."""
    for columns in range(min(len(handles), MOST_LEGEND_COLUMNS), 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        box = legend.get_window_extent()
        if box.width <= 0.94 * figure.bbox.width or columns == 1:
            figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
            return
        legend.remove()


def empty_figure(text: str) -> Figure:
    """Make a figure that says why it shows nothing."""
    figure, axes = plt.subplots(figsize=(7.5, 2), layout="constrained")
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    return figure


def save(figure: Figure, path: Path, settings: PlotSettings) -> None:
    """Write a figure as <path>.png and <path>.svg, and close it."""
    for suffix in FORMATS:
        with atomic_write(path.with_name(f"{path.name}.{suffix}")) as temporary:
            metadata = {"Date": None} if suffix == "svg" else None
            figure.savefig(temporary, dpi=settings.dpi, metadata=metadata)
        figure.set_layout_engine("none")  # the second format keeps the layout of the first, which takes long
    plt.close(figure)
