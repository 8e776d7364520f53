"""Growth of a step's cost with the number of classes, the number of tasks, and the size of images.

All other sizes are those of a run. The steps are those of the last task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genifer.bench.meter import Figures, Meter
from genifer.bench.steps import gan_step, next_task_step, variant_with_gan
from genifer.config import PlotSettings, RunSettings, Variant
from genifer.nn.stages import channels_needed

CLASSES = (10, 30, 100, 300, 1000)
TASKS = (5, 10, 20, 50)
CLASSES_IN_TASKS = 100
IMAGE_SIZES = (16, 32, 64, 128)


def growth(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Yield figures with names such as 'classes 10, GAN, later task', for the first variant with a GAN."""
    variant = variant_with_gan(settings)
    settings = variant.settings
    for count in CLASSES:
        half = count // 2
        grown = _with(settings, "scenario", tasks=[half, count - half])
        yield from _last_task(meter, variant, grown, "classes", count)
    for count in TASKS:
        grown = _with(settings, "scenario", tasks=[CLASSES_IN_TASKS // count] * count)
        yield from _last_task(meter, variant, grown, "tasks", count)
    for side in IMAGE_SIZES:
        channels = _channels(settings, side)
        grown = _with(_with(settings, "data", image_size=side), "generator", channels=channels)
        yield from _last_task(meter, variant, grown, "image size", side)


def _last_task(
    meter: Meter, variant: Variant, settings: RunSettings, what: str, size: int
) -> Iterator[Figures]:
    task = len(settings.scenario.tasks) - 1
    for figures in (gan_step(meter, settings, task), *next_task_step(meter, variant, settings, task)):
        yield dataclasses.replace(figures, name=f"{what} {size}, {figures.name}", parts={})


def _with(settings: RunSettings, block: str, **values: Any) -> RunSettings:
    return settings.model_copy(update={block: getattr(settings, block).model_copy(update=values)})


def _channels(settings: RunSettings, side: int) -> list[int] | None:
    """Return as many of the run's channels as a side needs; for larger sides the last one is repeated."""
    channels = settings.generator.channels
    if channels is None:
        return None
    needed = channels_needed(side, settings.gan.generated_stage, settings.classifier.stem)
    return [*channels, *[channels[-1]] * needed][:needed]


def plot_growth(measured: Sequence[Figures], settings: PlotSettings, path: Path) -> None:
    """Draw milliseconds per step over what grows, one panel each, with logarithmic axes."""
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
    grid.set_ylabels("milliseconds per step")
    grid.legend.set_title("")
    grid.savefig(path, dpi=settings.dpi)
    plt.close(grid.figure)
