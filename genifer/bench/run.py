"""Running of benchmarks one after the other, and printing of their figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import typer

from genifer.bench import files
from genifer.bench.growth import growth, plot_growth
from genifer.bench.meter import Figures, Meter
from genifer.bench.steps import classifier_steps, gan_steps, next_task_steps, with_ada
from genifer.config import RunSettings
from genifer.errors import GeniferError
from genifer.runtime.device import configure, pick_device
from genifer.training.precision import choose_precision
from genifer.training.untrained import sizes_of

BENCHMARKS: dict[str, Callable[[Meter, RunSettings], Iterator[Figures]]] = {
    "gan": gan_steps,
    "classifier": classifier_steps,
    "next-task": next_task_steps,
    "data": files.data,
    "checkpoint": files.checkpoint,
    "growth": growth,
}


def run_benchmarks(
    run: RunSettings,
    what: str,
    device_name: str | None,
    precision: str | None,
    compiled: bool,
    steps: int,
    repeats: int,
    ada_probability: float | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Run benchmarks and print their figures.

    Args:
        run: the run whose sizes are used.
        what: one of `BENCHMARKS`, or ``all`` for all except growth.
        device_name, precision: override the settings; None uses them.
        compiled: whether to compile the losses of steps.
        steps: number of steps per repeat.
        repeats: number of repeats.
        ada_probability: fixed probability of augmentation; None uses the settings.
        plot: PNG file for the plot of growth.
        as_json: print one JSON object instead of lines.

    Raises:
        GeniferError: there is nothing to plot, or a benchmark cannot run.
    """
    if plot is not None and what != "growth":
        raise GeniferError(f"--plot works only with the benchmark growth: genifer bench growth --plot {plot}")
    device = pick_device(device_name or run.runtime.device)
    precision = choose_precision(precision or run.runtime.precision, device, sizes_of(run)).precision
    configure(device, precision)
    meter = Meter(device, precision, compiled, steps, repeats)
    if not as_json:
        how = f"{precision}, compiled" if compiled else precision
        typer.echo(f"run {run.run} on {device.type}, {how}; median of {repeats} x {steps} steps\n")
    chosen = [name for name in BENCHMARKS if name != "growth"] if what == "all" else [what]
    measured = []
    for name in chosen:
        for figures in BENCHMARKS[name](meter, with_ada(run, ada_probability)):
            measured.append(figures)
            if not as_json:
                typer.echo(str(figures))
    if plot is not None:
        plot_growth(measured, run.plots, plot)
    if as_json:
        about = {"run": run.run, "device": device.type, "precision": precision, "compile": compiled}
        typer.echo(json.dumps(about | {"figures": [asdict(figures) for figures in measured]}, indent=2))
