"""How the cost of a step grows with the number of classes, of tasks, and with the size of images.

Sizes are those of a run but for the one that grows. Steps are those of the last task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genifer.bench.meter import Figures, Meter
from genifer.bench.steps import gan_step, next_task_step
from genifer.config import PlotSettings, RunSettings

CLASSES = (10, 30, 100, 300, 1000)
TASKS = (5, 10, 20, 50)
CLASSES_IN_TASKS = 100
IMAGE_SIZES = (16, 32, 64, 128)


def growth(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Figures named 'classes 10, GAN, a later task' and the like."""
    for count in CLASSES:
        half = count // 2
        yield from _last_task(
            meter, _with(settings, "scenario", tasks=[half, count - half]), "classes", count
        )
    for count in TASKS:
        tasks = [CLASSES_IN_TASKS // count] * count
        yield from _last_task(meter, _with(settings, "scenario", tasks=tasks), "tasks", count)
    for side in IMAGE_SIZES:
        of_size = _with(settings, "data", image_size=side)
        channels = _channels(settings.generator.channels, side)
        yield from _last_task(meter, _with(of_size, "generator", channels=channels), "image size", side)


def _last_task(meter: Meter, settings: RunSettings, grown: str, size: int) -> Iterator[Figures]:
    task = len(settings.scenario.tasks) - 1
    for figures in (gan_step(meter, settings, task), next_task_step(meter, settings, task)):
        yield dataclasses.replace(figures, name=f"{grown} {size}, {figures.name}", parts={})


def _with(settings: RunSettings, block: str, **values: Any) -> RunSettings:
    return settings.model_copy(update={block: getattr(settings, block).model_copy(update=values)})


def _channels(channels: Sequence[int] | None, side: int) -> list[int] | None:
    """The run's channels as far as a side needs them, its last ones repeated for larger sides."""
    if channels is None:
        return None
    needed = 2 * (side.bit_length() - 3) + 2
    return [*channels, *[channels[-1]] * needed][:needed]


def plot_growth(measured: Sequence[Figures], settings: PlotSettings, path: Path) -> None:
    """Draw milliseconds of a step over what grows, both axes logarithmic, a panel each."""
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns

    rows = []
    for figures in measured:
        grown, step = figures.name.split(", ", 1)
        what, size = grown.rsplit(" ", 1)
        rows.append(
            {"what": what, "size": int(size), "step": step.partition(",")[0], "ms": 1000 * figures.seconds}
        )
    table = pd.DataFrame(rows)
    sns.set_theme(style=settings.style, context=settings.context, palette=settings.palette)
    grid = sns.relplot(
        table, x="size", y="ms", hue="step", style="step", col="what", kind="line", markers=True,
        dashes=False, height=3.5, facet_kws={"sharex": False},
    )  # fmt: skip
    labels = {"classes": "classes", "tasks": "tasks", "image size": "image size (pixels)"}
    for what, axes in grid.axes_dict.items():
        sizes = sorted(table[table["what"] == what]["size"].unique())
        axes.set(xscale="log", yscale="log", xlabel=labels[what], title="", ylim=(1, None))
        axes.set_xticks(sizes, labels=[str(size) for size in sizes])
        axes.minorticks_off()
    grid.set_ylabels("milliseconds a step")
    grid.legend.set_title("")
    grid.savefig(path, dpi=settings.dpi)
    plt.close(grid.figure)
