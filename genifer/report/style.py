"""The common style of all plots: sizes, text, colours, markers and output files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from genifer.config import PlotSettings
from genifer.layout import PLOT_FORMATS
from genifer.runtime.files import atomic_write

COLUMN, PAGE = 3.3, 6.9
"""Widths of a column and of a page of a paper, in inches."""

PAPER_FONT, SCREEN_FONT = 8, 12
"""Font sizes in points; figure sizes in the code assume the one for screens."""

MARKERS = "osD^vPX<>phd"

DATES = {"pdf": "CreationDate", "svg": "Date"}
"""Metadata to leave out, so that equal data give equal files."""

Color = tuple[float, float, float]


def set_style(settings: PlotSettings) -> None:
    """Set seaborn's style and font sizes; SVG files keep text as text, and PDF files embed their fonts."""
    if settings.medium == "paper":
        sns.set_theme("paper", settings.style, settings.palette)
        sizes = sns.plotting_context("paper", font_scale=PAPER_FONT / (0.8 * SCREEN_FONT))
        plt.rcParams.update({name: value for name, value in sizes.items() if name.endswith("size")})
        plt.rcParams["lines.markersize"] = 5
        plt.rcParams["figure.titlesize"] = plt.rcParams["axes.titlesize"] = PAPER_FONT
    else:
        sns.set_theme(settings.context, settings.style, settings.palette)
        plt.rcParams["axes.titlesize"] = plt.rcParams["figure.titlesize"] = "medium"
    plt.rcParams.update({"svg.hashsalt": "genifer", "svg.fonttype": "none", "pdf.fonttype": 42})


def scaled(settings: PlotSettings, inches: float) -> float:
    """Scale a length from the screen's font size to that of the settings."""
    return inches if settings.medium == "screen" else inches * PAPER_FONT / SCREEN_FONT


def figure_size(
    settings: PlotSettings, width: float, height: float, *, column: bool = False
) -> tuple[float, float]:
    """Return the size of a figure in inches.

    Args:
        width, height: size on a screen.
        column: whether it fits a paper's column; otherwise it takes the width of a page.
    """
    if settings.medium == "screen":
        return width, height
    return (COLUMN if column else PAGE), scaled(settings, height)


def method_colors(labels: Iterable[str], settings: PlotSettings) -> dict[str, Color]:
    """Assign a colour to each label: from the palette if it has enough, else evenly spaced hues.

    Args:
        labels: all labels of the run in order, so that each has the same colour in every plot; repeats count
            once.
    """
    names = list(dict.fromkeys(labels))
    palette = sns.color_palette(settings.palette)
    colors = palette if len(names) <= len(palette) else sns.color_palette("husl", len(names))
    return dict(zip(names, colors[: len(names)], strict=True))


def method_markers(labels: Iterable[str]) -> dict[str, str]:
    """Assign a marker to each label, in the order of `method_colors`."""
    return {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(dict.fromkeys(labels))}


def task_colors(tasks: Sequence[int]) -> dict[int, Color]:
    """Assign a colour to each task, from dark to light."""
    return dict(zip(tasks, sns.color_palette("flare_r", len(tasks)), strict=True))


def save(figure: Figure, path: Path, settings: PlotSettings, formats: Sequence[str] = PLOT_FORMATS) -> None:
    """Write a figure as <path>.<format> for each format, and close it."""
    for suffix in formats:
        with atomic_write(path.with_name(f"{path.name}.{suffix}")) as temporary:
            metadata = {DATES[suffix]: None} if suffix in DATES else None
            figure.savefig(temporary, format=suffix, dpi=settings.dpi, metadata=metadata)
        figure.set_layout_engine("none")  # compute the layout once, because it is slow
    plt.close(figure)
