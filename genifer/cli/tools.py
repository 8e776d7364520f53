"""Commands that list settings and methods, run benchmarks, and import published runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genifer.cli import options as o

if TYPE_CHECKING:
    from genifer.registry import Registry

WithPlugins = Annotated[Path | None, o.option("--config", "Run file whose plugins are included.")]


def settings(
    config: WithPlugins = None,
    run: Annotated[
        str | None, o.option("--run", "Print the settings that this run was last made with, as a run file.")
    ] = None,
    schema: Annotated[bool, o.option("--schema", "Print their JSON schema instead.")] = False,
) -> None:
    """Print all settings with their defaults and meanings."""
    import json

    from genifer.layout import RESULTS
    from genifer.provenance.invocations import last_settings
    from genifer.run_file import default_run_file, run_file_text
    from genifer.settings_model import settings_model

    if run is not None:
        typer.echo(run_file_text(last_settings(RESULTS / run)), nl=False)
        return
    registry = _registry(config)
    text = default_run_file(registry)
    if schema:
        text = json.dumps(settings_model(registry).model_json_schema(), indent=2) + "\n"
    typer.echo(text, nl=False)


def methods(config: WithPlugins = None) -> None:
    """List the methods and data sets that runs can name."""
    typer.echo(_registry(config).listing())


def _registry(config: Path | None) -> Registry:
    from genifer.config import registry_of
    from genifer.run_file import load_settings

    return registry_of([]) if config is None else load_settings(config).registry


Benchmark = Literal["gan", "classifier", "next-task", "data", "checkpoint", "growth", "all"]
Precision = Literal["auto", "fp32", "tf32", "bf16"]


def bench(
    what: Annotated[
        Benchmark,
        typer.Argument(
            help="What to measure; next-task: a later task of each method that trains; all: all but growth."
        ),
    ] = "all",
    config: o.RunFile = Path("config/config.yaml"),
    device: o.Device = None,
    precision: Annotated[Precision | None, o.option("--precision", "Overrides runtime.precision.")] = None,
    compiled: Annotated[bool, o.option("--compile/--no-compile", "Compile the losses.")] = False,
    steps: Annotated[int, o.option("--steps", "Steps per repeat.", min=1)] = 3,
    repeats: Annotated[int, o.option("--repeats", "Number of repeats.", min=1)] = 5,
    ada_p: Annotated[
        float | None, o.option("--ada-p", "Fixed probability of augmentation.", min=0, max=1)
    ] = None,
    plot: Annotated[Path | None, o.option("--plot", "growth: PNG file to draw the measurements to.")] = None,
    against: Annotated[
        Path | None, o.option("--against", "Folder of another checkout to compare with.")
    ] = None,
    against_config: Annotated[
        Path | None, o.option("--against-config", "Run file of the other checkout.")
    ] = None,
    rounds: Annotated[
        int, o.option("--rounds", "With --against: how often to alternate between the checkouts.", min=1)
    ] = 5,
    as_json: o.AsJson = False,
) -> None:
    """Measure training steps, data loading and files at a run's sizes."""
    from genifer.bench.against import compare, options_of
    from genifer.bench.run import run_benchmarks
    from genifer.run_file import load_settings

    if against is not None:
        options = options_of(device, precision, compiled, steps, repeats, ada_p)
        return compare(against, what, config, against_config, options, rounds, as_json)
    run = load_settings(config)
    return run_benchmarks(run, what, device, precision, compiled, steps, repeats, ada_p, plot, as_json)


def import_reference(
    config: Annotated[list[Path], o.option("--config", "Config (JSON) of the published code; repeatable.")],
    output: Annotated[Path, o.option("--output", "Folder for run.yaml and the checkpoints.")],
    classifier: Annotated[Path | None, o.option("--classifier", "<id>_model_best_val_loss.pt.")] = None,
    generator: Annotated[Path | None, o.option("--generator", "<id>_generator.pt.")] = None,
    discriminator: Annotated[Path | None, o.option("--discriminator", "<id>_discriminator.pt.")] = None,
    gan_task: Annotated[
        int | None, o.option("--gan-task", "Task of the GAN, if it differs from the classifier's.")
    ] = None,
) -> None:
    """Import configs and checkpoints of the published code."""
    from genifer.compat.import_run import import_reference as import_run

    notes = import_run(config, classifier, generator, discriminator, gan_task, output)
    typer.echo("".join(f"note: {note}\n" for note in notes), err=True, nl=False)
    typer.echo(f"{output / 'run.yaml'}: snakemake --configfile {output / 'run.yaml'}")


COMMANDS = {"Tools": (settings, methods, bench, import_reference)}
