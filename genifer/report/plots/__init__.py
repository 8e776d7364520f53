"""The plots of a run; here their common parts: names, titles, legends and ticks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from scipy.optimize import isotonic_regression

from genifer.report.phrases import over_seeds

CLASSES_PER_BAND = 25
"""Columns per band in plots with one column per class; further classes continue in a band below."""

LONGEST_NAME = 17
"""Maximum number of characters of a class name in plots."""

SHORT_NAME = 3
"""Maximum number of characters of a horizontal name below a column."""

MOST_LEGEND_COLUMNS = 6

LOG_FROM = 10
"""Ratio of the largest to the smallest value above which a scale is logarithmic."""


SPREAD, STEP = 0.4, 0.05
"""Fractions of the distance between ticks: maximum spread of the points of a tick, and their maximum gap."""


def bands(n_classes: int) -> Iterator[range]:
    """Yield the range of classes in each band of a plot with one column per class."""
    for first in range(0, n_classes, CLASSES_PER_BAND):
        yield range(first, min(first + CLASSES_PER_BAND, n_classes))


def name_columns(axes: Axes, centres: Sequence[float], names: Sequence[str]) -> None:
    """Write names below columns, rotated if they are long."""
    short = max(map(len, names)) <= SHORT_NAME
    axes.set_xticks(
        list(centres),
        [short_name(name) for name in names],
        rotation=0 if short else 60,
        ha="center" if short else "right",
        rotation_mode="anchor",
    )


def short_name(name: str) -> str:
    """Shorten a class name for plots, and escape dollar signs, which would start a formula."""
    cut = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
    return cut.replace("$", r"\$")


def draw_sheet(axes: Axes, sheet: np.ndarray) -> None:
    """Show an image of shape (height, width, channels) without axes."""
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    sns.despine(ax=axes, left=True, bottom=True)


def seeds_note(count: int) -> str:
    """Return the statistic that lines, bars and bands show."""
    return over_seeds(count, "mean and standard deviation")


def means_of_classes(count: int, *, one_order: bool) -> str:
    """Return the statistic of values per class; with an order per seed, some seeds lack a class."""
    if one_order:
        return over_seeds(count, "means")
    return f"means over up to {count} seeds, each with its own class order"


def heading(what: str, scenario: str, seeds: int) -> str:
    """Return the title of a plot of all methods: content, data set, tasks and number of seeds."""
    return f"{what}: {scenario}\n({seeds_note(seeds)})" if scenario else f"{what}\n({seeds_note(seeds)})"


def set_title(figure: Figure, text: str) -> None:
    """Add a title, wrapped to the figure's width; the figure grows by the title's height."""
    title = wrapped(text, figure.get_figwidth())
    figure.suptitle(title)
    figure.set_figheight(figure.get_figheight() + line_height() * len(title.splitlines()))


def wrapped(text: str, inches: float) -> str:
    """Wrap a title to a width in inches; labels may be long."""
    characters = max(int(inches / letter_width()), 10)
    return "\n".join(textwrap.fill(line, characters) for line in text.splitlines())


def line_height() -> float:
    """Return the height of a title's line in inches."""
    return 1.3 * float(plt.rcParams["font.size"]) / 72


def names_height(names: Iterable[str]) -> float:
    """Return the height in inches of the names that `name_columns` writes."""
    longest = max(map(len, map(short_name, names)))
    return line_height() + (0.0 if longest <= SHORT_NAME else 0.87 * longest * letter_width())


def letter_width() -> float:
    """Return the average width of a letter in inches."""
    return 0.56 * float(plt.rcParams["font.size"]) / 72


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """Add a legend below the axes, in as many columns as fit; the figure grows by its height."""
    for columns in range(min(len(handles), MOST_LEGEND_COLUMNS), 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        box = legend.get_window_extent()
        if box.width <= 0.94 * figure.bbox.width or columns == 1:
            figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
            return
        legend.remove()


def apart(wanted: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Move positions as little as possible until neighbours are at least ``least`` apart.

    Args:
        low, high: allowed range; positions exceed ``high`` if there is no room.
    """
    order = np.argsort(wanted, kind="stable")
    steps = least * np.arange(len(order))
    room = max(high - low - (steps[-1] if len(steps) else 0), 0)
    moved = np.clip(isotonic_regression(np.asarray(wanted)[order] - steps).x, low, low + room) + steps
    positions = np.empty(len(order))
    positions[order] = moved
    return [float(position) for position in positions]


def label_lines(axes: Axes, ends: dict[str, tuple[float, float]], colors: dict[str, Any]) -> None:
    """Write the names of lines to the right of the axes, each connected to the end of its line.

    Args:
        ends: last point (x, y) of each named line, in data coordinates.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # the height of the axes is known only after drawing
    box = axes.get_window_extent()
    size = float(plt.rcParams["legend.fontsize"])
    low, high = axes.get_ylim()
    wanted = [(y - low) / (high - low) for _, y in ends.values()]
    least = 1.25 * size / 72 * figure.dpi / box.height
    for (name, end), height in zip(ends.items(), apart(wanted, least, 0, 1), strict=True):
        axes.annotate(
            name.replace("$", r"\$"),
            end,
            xytext=(1 + 1.6 * size / 72 * figure.dpi / box.width, height),
            textcoords="axes fraction",
            va="center",
            size=size,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colors[name],
                "linewidth": 1,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )


def side_by_side(count: int, gap: float) -> list[float]:
    """Return shifts for points that would hide each other, around ticks at this distance."""
    step = gap * min(STEP, SPREAD / max(count - 1, 1))
    return [step * (index - (count - 1) / 2) for index in range(count)]


def end_at_ticks(axis: Axis, low: float, high: float) -> None:
    """Extend an axis to the ticks around the data."""
    ticks = MaxNLocator(9, steps=[1, 2, 5, 10]).tick_values(low, high)
    axis.set_ticks(ticks)
    axis.axes.set(**{f"{axis.axis_name}lim": (ticks[0], ticks[-1])})  # type: ignore[attr-defined]


def tick_values(axes: Axes, values: Sequence[int]) -> None:
    """Put ticks at as many of the values as fit, including the last."""
    width = axes.get_position().width * axes.figure.get_figwidth()  # type: ignore[union-attr]
    room = letter_width() * (len(str(max(values))) + 1.5)
    every = max(int(np.ceil(len(values) * room / width)), 1)
    axes.set_xticks(list(values)[::-1][::every][::-1])


def step_ticks(axes: Axes, last: int) -> None:
    """Put ticks on an axis of steps from 0 to the last one, at round numbers if these divide it."""

    def digits(parts: int) -> int:
        return len(str(last // parts).rstrip("0"))

    divisors = [parts for parts in (4, 5, 3, 2) if last % parts == 0]
    parts = min(divisors, key=digits, default=max(min(4, last), 1))
    axes.set_xticks([round(last * part / parts) for part in range(parts + 1)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def scale_of_distances(axes: Axes, low: float, high: float) -> None:
    """Scale a y-axis for positive values: from zero, or logarithmic if they span orders of magnitude."""
    if high < LOG_FROM * low or low <= 0:
        end_at_ticks(axes.yaxis, 0, high)
        return
    parts = 1, 2, 5
    powers = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    ticks = [part * 10.0**power for power in powers for part in parts]
    first = max(tick for tick in ticks if tick <= low)
    last = min((tick for tick in ticks if tick >= high), default=ticks[-1])
    axes.set(yscale="log", ylim=(first, last))
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if first <= tick <= last]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def of_seeds(table: Any, keys: Sequence[str], value: str) -> Any:
    """Return mean and standard deviation (0 for one seed) of a column over the rows with equal keys."""
    statistics = table.groupby(list(keys), sort=False)[value].agg(["mean", "std"]).reset_index()
    return statistics.fillna({"std": 0.0})


def empty_figure(text: str) -> Figure:
    """Make a figure that states why there is nothing to show."""
    figure, axes = plt.subplots(figsize=(7.5, 2), layout="constrained")
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    return figure
