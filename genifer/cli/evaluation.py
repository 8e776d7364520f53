"""Commands that evaluate, and commands that write a run's tables and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from genifer.cli import options as o

Table = Literal["accuracy", "replay", "training", "costs"]
Plot = Literal["accuracy", "published", "forgetting", "replay", "training", "costs"]


@o.shared_options
def evaluate(
    method: o.Label, classifier: o.Classifier, data: o.Data, output: o.Output, options: o.JobOptions
) -> None:
    """Measure accuracy on the images of all tasks so far."""
    from genifer.evaluation.accuracy import evaluate as measure
    from genifer.evaluation.device import evaluating

    run = options.load("evaluate")
    with evaluating("evaluate", run.runtime, output) as (device, _):
        measure(run.evaluation, method, options.seed, classifier, data, output, device, run.registry)


@o.shared_options
def evaluate_replay(
    method: o.Label,
    gan: o.Gan,
    classifier: o.Classifier,
    data: o.Data,
    output: o.Output,
    options: o.JobOptions,
    judge: Annotated[
        Path | None, o.option("--judge", "Classifier checkpoint that no GAN was trained against.")
    ] = None,
) -> None:
    """Compare replay with real images.

    DATA are the training and the test images of all tasks so far.
    """
    from genifer.evaluation.device import evaluating
    from genifer.evaluation.replay import evaluate_replay as compare

    run = options.load("evaluate_replay")
    with evaluating("evaluate_replay", run.runtime, output, (classifier, data[0])) as where:
        compare(run.evaluation, method, options.seed, gan, classifier, data, output, *where, judge)


@o.shared_options
def tabulate(table: Table, results: o.Results, options: o.SettingsOptions) -> None:
    """Collect the results of jobs into a CSV table."""
    from genifer.evaluation.collect import COLLECTORS

    job, collect = COLLECTORS[table]
    collect(results, **options.table_settings(job))


@o.shared_options
def write_tables(results: o.Results, options: o.SettingsOptions) -> None:
    """Write the run's tables as HTML pages."""
    from genifer.layout import pages_folder
    from genifer.report.pages import write_tables as write

    write(results, **options.table_settings("write_tables"), output=Path(pages_folder(results)))


@o.shared_options
def plot(what: Plot, results: o.Results, options: o.SettingsOptions, data: o.OptionalData = None) -> None:
    """Draw plots from a run's tables, as PNG, SVG and PDF.

    DATA are the test images, shown beside the forgotten classes.
    """
    from genifer.published import fitting
    from genifer.report.draw import draw
    from genifer.task_sizes import tasks_text

    run = options.load("plot_published" if what == "published" else "plot")
    scenario = f"{run.data.dataset}, {tasks_text(run.scenario.tasks)} classes"
    draw(what, run.plots, results, data or [], fitting(run) if what == "published" else [], scenario)


@o.shared_options
def plot_sample_grids(
    gan: o.Gan,
    classifier: o.Classifier,
    nearest: Annotated[Path, o.option("--nearest", "nearest.safetensors of evaluate-replay.")],
    data: o.Data,
    output: o.Output,
    options: o.SettingsOptions,
    replay: Annotated[
        Path | None, o.option("--replay", "replay.csv of evaluate-replay, for the classifier's agreement.")
    ] = None,
    method: o.Label = "gan",
    old_gan: o.OldGan = None,
    seed: o.Seed = 0,
) -> None:
    """Draw sample grids of real and generated images, as PNG, SVG and PDF."""
    from genifer.report.plots.sample_grids import plot_sample_grids as draw

    plots = options.load("plot").plots
    draw(plots, method, seed, gan, old_gan, classifier, nearest, replay, data, output)


COMMANDS = {
    "Evaluation": (evaluate, evaluate_replay),
    "Tables and plots": (tabulate, write_tables, plot, plot_sample_grids),
}
