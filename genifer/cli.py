"""The one door: a subcommand for each rule of the workflow, each also pleasant by hand.

Modules that import torch are imported inside the commands, so that help is quick.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genifer import __version__
from genifer.config import (
    TRACKERS,
    RunSettings,
    load_settings,
    parse_settings,
    settings_from_json,
    settings_from_slice,
    stage_settings,
)
from genifer.errors import GeniferError

if TYPE_CHECKING:
    import torch

    from genifer.training.stage import Stage

app = typer.Typer(
    help="Generative feature-driven image replay for continual learning.\n\n"
    "Snakemake runs these stages in the right order; each also runs by hand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Run file with the settings, such as config/quickstart.yaml.", show_default=False
    ),
]
Slice = Annotated[
    str | None,
    typer.Option(
        "--settings",
        help="The stage's settings as JSON, as the workflow passes them; instead of --config.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the run.")]
Device = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu or cuda; instead of runtime.device.", show_default=False),
]
ResumeEvery = Annotated[
    float | None,
    typer.Option(
        "--resume-every",
        min=0,
        help="Minutes between resume files; instead of runtime.resume_every.",
        show_default=False,
    ),
]
CollapseLimit = Annotated[
    float | None,
    typer.Option(
        "--collapse-limit",
        min=0,
        help="Below it a GAN has collapsed; instead of runtime.collapse_limit.",
        show_default=False,
    ),
]
Compile = Annotated[
    Literal["auto", "off", "on"] | None,
    typer.Option("--compile", help="Instead of runtime.compile.", show_default=False),
]
Trackers = Annotated[
    str | None,
    typer.Option(
        "--trackers",
        help="tensorboard, dvclive, mlflow, with commas between, or none; instead of runtime.trackers.",
        show_default=False,
    ),
]
StageOutput = Annotated[
    Path,
    typer.Option("--output", help="Folder for checkpoint, metrics.csv, status.json and trackers' files."),
]
TrainData = Annotated[Path, typer.Option("--data", help="Prepared training images of the task.")]
Classifier = Annotated[Path, typer.Option("--classifier", help="Checkpoint of a classifier.")]
OldClassifier = Annotated[Path, typer.Option("--old-classifier", help="Classifier after the task before.")]
OldGan = Annotated[Path, typer.Option("--old-gan", help="GAN after the task before.")]


def _settings(config: Path | None, slice_: str | None, stage: str, **runtime: object) -> RunSettings:
    """The settings of a stage; options of the command line, where given, go before runtime.*."""
    if (config is None) == (slice_ is None):
        raise GeniferError("give --config with a run file (or, as the workflow does, --settings), not both")
    loaded = load_settings(config) if config is not None else settings_from_slice(slice_ or "", stage)
    given = {name: value for name, value in runtime.items() if value is not None}
    return loaded.model_copy(update={"runtime": loaded.runtime.model_copy(update=given)})


def _trackers(names: str | None) -> list[str] | None:
    if names is None:
        return None
    given = [] if names == "none" else names.split(",")
    unknown = [name for name in given if name not in TRACKERS]
    if unknown:
        raise GeniferError(
            f"--trackers: '{unknown[0]}' is not known; allowed: {', '.join(TRACKERS)}, or none"
        )
    return given


@contextlib.contextmanager
def _stage(
    name: str,
    steps: int,
    seed: int,
    data: list[Path],
    checkpoints: dict[str, Path],
    output: Path,
    settings: RunSettings,
    slice_: str | None,
) -> Iterator[Stage]:
    from genifer.runtime.device import explained_memory, pick_compile, pick_device, pick_precision
    from genifer.runtime.tensors import load_description
    from genifer.training.resume import checksums
    from genifer.training.stage import BLOCKS, Stage

    task = max(load_description(path, "data set")["task"] for path in data)
    runtime = settings.runtime
    device = pick_device(runtime.device)
    images = {f"images {index}": path for index, path in enumerate(data)}
    belongs_to = {
        "stage": [name, seed, task],
        "settings": settings_from_json(slice_) if slice_ is not None else stage_settings(settings, name),
        "device": device.type,
        **checksums(images | checkpoints),
    }
    with explained_memory(f"{BLOCKS[name]}.batch_size"):
        yield Stage(
            name=name,
            seed=seed,
            task=task,
            output=output,
            device=device,
            precision=pick_precision(runtime.precision, device),
            deterministic=runtime.deterministic,
            compile=pick_compile(runtime.compile, device, steps, runtime.deterministic),
            resume_every=runtime.resume_every,
            collapse_limit=runtime.collapse_limit,
            trackers=runtime.trackers,
            belongs_to=belongs_to,
        )


@app.command()
def check(
    config: Config = None,
    settings: Slice = None,
    device: Device = None,
    elsewhere: Annotated[
        bool,
        typer.Option("--elsewhere", help="The jobs go to other machines: leave this one's device alone."),
    ] = False,
) -> None:
    """Check settings, data and device before a run, and say how long it will take on a CPU."""
    from genifer.preflight import check_given_files, check_trackers, preflight

    if settings is None:
        loaded = _settings(config, settings, "check")
    else:
        loaded = parse_settings(settings_from_json(settings), source="settings")
    if elsewhere:
        check_given_files(loaded)
        check_trackers(loaded)
    else:
        preflight(loaded, device or loaded.runtime.device)


@app.command()
def doctor(
    config: Annotated[Path, typer.Option("--config", help="Run file of the run to come.")] = Path(
        "config/config.yaml"
    ),
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Check the machine before a long run: GPU, data, disk, and the hours that it will take.

    A line a check; exits with 1 where something would stop the run.
    """
    import json
    from dataclasses import asdict

    from genifer.doctor import examine

    loaded = load_settings(config)
    findings = []
    for finding in examine(loaded, device or loaded.runtime.device):
        findings.append(finding)
        if not as_json:
            color = {"ok": "green", "note": "yellow", "stop": "red"}[finding.verdict]
            typer.echo(
                f"{typer.style(f'{finding.verdict:4}', fg=color)}  {finding.check:8} {finding.message}"
            )
    stops = any(finding.verdict == "stop" for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        typer.echo(json.dumps({"run": loaded.run, "ok": not stops, "checks": checks}, indent=2))
    raise typer.Exit(int(stops))


class Benchmark(StrEnum):
    """What `genifer bench` measures."""

    GAN = "gan"
    CLASSIFIER = "classifier"
    NEXT_TASK = "next-task"
    DATA = "data"
    CHECKPOINT = "checkpoint"
    GROWTH = "growth"
    ALL = "all"


@app.command()
def bench(
    what: Annotated[
        Benchmark, typer.Argument(help="What to measure; all leaves out growth.")
    ] = Benchmark.ALL,
    config: Annotated[Path, typer.Option("--config", help="Run file whose sizes are taken.")] = Path(
        "config/config.yaml"
    ),
    device: Device = None,
    precision: Annotated[
        Literal["auto", "fp32", "tf32", "bf16"] | None,
        typer.Option("--precision", help="Instead of runtime.precision.", show_default=False),
    ] = None,
    compile_: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Compile the losses of steps.")
    ] = False,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps in each repeat.")] = 3,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="How often all is timed.")] = 5,
    ada_p: Annotated[
        float | None,
        typer.Option("--ada-p", min=0, max=1, help="Fixed probability of augmentation.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="growth: draw the figures to this PNG file.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Measure steps, data and files at a run's sizes: speed, operations, memory, time by part."""
    import json
    from dataclasses import asdict

    from genifer.bench import files
    from genifer.bench import steps as of_steps
    from genifer.bench.growth import growth, plot_growth
    from genifer.bench.meter import Figures, Meter
    from genifer.runtime.device import configure, pick_device, pick_precision

    if plot is not None and what is not Benchmark.GROWTH:
        raise GeniferError(f"--plot draws how cost grows: genifer bench growth --plot {plot}")
    run = load_settings(config)
    picked = pick_device(device or run.runtime.device)
    precision_ = pick_precision(precision or run.runtime.precision, picked)
    configure(picked, precision_)
    meter = Meter(picked, precision_, compile_, steps, repeats)
    run = of_steps.with_ada(run, ada_p)
    benchmarks: dict[Benchmark, Callable[[Meter, RunSettings], Iterable[Figures]]] = {
        Benchmark.GAN: of_steps.gan_steps,
        Benchmark.CLASSIFIER: of_steps.classifier_steps,
        Benchmark.NEXT_TASK: of_steps.next_task_steps,
        Benchmark.DATA: files.data,
        Benchmark.CHECKPOINT: files.checkpoint,
        Benchmark.GROWTH: growth,
    }
    chosen = (
        [what] if what is not Benchmark.ALL else [name for name in benchmarks if name != Benchmark.GROWTH]
    )
    compiled = ", compiled" if compile_ else ""
    if not as_json:
        typer.echo(
            f"run {run.run} on {picked.type}, {precision_}{compiled}; median of {repeats} x {steps} steps\n"
        )
    measured = []
    for figures in (figures for name in chosen for figures in benchmarks[name](meter, run)):
        measured.append(figures)
        if not as_json:
            typer.echo(str(figures))
    if plot is not None:
        plot_growth(measured, run.plots, plot)
    if as_json:
        about = {"run": run.run, "device": picked.type, "precision": precision_, "compile": compile_}
        typer.echo(json.dumps(about | {"figures": [asdict(figures) for figures in measured]}, indent=2))


@app.command()
def download_data(
    output: Annotated[Path, typer.Option("--output", help="Where the archive goes.")],
    config: Config = None,
    settings: Slice = None,
) -> None:
    """Download CIFAR-100; an interrupted download goes on where it stopped."""
    from genifer.data.download import download_cifar100

    download_cifar100(output, _settings(config, settings, "download_data").data.archive_md5)


@app.command()
def prepare_data(
    output: Annotated[
        Path, typer.Option("--output", help="Folder for the prepared files, one a task and split.")
    ],
    archive: Annotated[
        Path | None,
        typer.Option(
            "--archive",
            help="The downloaded archive; not needed where data.archive is set.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    settings: Slice = None,
) -> None:
    """Split a data set into tasks: one file of uint8 images a task and split."""
    from genifer.data.prepare import prepare_data

    loaded = _settings(config, settings, "prepare_data")
    prepare_data(loaded.data, loaded.scenario, archive, output)


@app.command()
def use_checkpoint(
    data: TrainData,
    output: Annotated[Path, typer.Option("--output", help="Where the checkpoint goes.")],
    classifier: Annotated[
        Path | None, typer.Option("--classifier", help="Checkpoint of a classifier.", show_default=False)
    ] = None,
    gan: Annotated[
        Path | None, typer.Option("--gan", help="Or checkpoint of a GAN.", show_default=False)
    ] = None,
    config: Config = None,
    settings: Slice = None,
) -> None:
    """Take a checkpoint from elsewhere in place of a training, if it fits the run (start.* settings)."""
    from genifer.training import start

    loaded = _settings(config, settings, "use_checkpoint")
    if classifier is not None and gan is None:
        start.use_classifier(loaded.start, classifier, data, output)
    elif gan is not None and classifier is None:
        start.use_gan(loaded.start, loaded.gan, gan, data, output)
    else:
        raise GeniferError("give one of --classifier and --gan")


@app.command()
def import_reference(
    config: Annotated[
        list[Path], typer.Option("--config", help="Config (JSON) of the published code; once for each.")
    ],
    output: Annotated[Path, typer.Option("--out", help="Folder for run.yaml and the checkpoints.")],
    classifier: Annotated[
        Path | None,
        typer.Option("--classifier", help="<id>_model_best_val_loss.pt.", show_default=False),
    ] = None,
    generator: Annotated[
        Path | None, typer.Option("--generator", help="<id>_generator.pt.", show_default=False)
    ] = None,
    discriminator: Annotated[
        Path | None, typer.Option("--discriminator", help="<id>_discriminator.pt.", show_default=False)
    ] = None,
    gan_task: Annotated[
        int | None,
        typer.Option("--gan-task", help="Last task of the GAN; else the classifier's.", show_default=False),
    ] = None,
) -> None:
    """Turn configs and checkpoints of the published code into a run file and checkpoints of this one."""
    from genifer.import_reference import import_reference

    for note in import_reference(config, classifier, generator, discriminator, gan_task, output):
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{output / 'run.yaml'}: snakemake --configfile {output / 'run.yaml'}")


@app.command()
def pretrain_classifier(
    data: TrainData,
    output: StageOutput,
    seed: Seed = 0,
    config: Config = None,
    settings: Slice = None,
    device: Device = None,
    compile_: Compile = None,
    resume_every: ResumeEvery = None,
    trackers: Trackers = None,
) -> None:
    """Train the classifier on the first task."""
    from genifer.training import supervised

    loaded = _settings(
        config,
        settings,
        "pretrain_classifier",
        device=device,
        compile=compile_,
        resume_every=resume_every,
        trackers=_trackers(trackers),
    )
    pretrained = loaded.classifier.pretrained
    checkpoints = {} if pretrained is None else {"pretrained classifier": pretrained}
    with _stage(
        "pretrain_classifier",
        loaded.pretrain_classifier.steps,
        seed,
        [data],
        checkpoints,
        output,
        loaded,
        settings,
    ) as stage:
        supervised.pretrain_classifier(stage, loaded.classifier, loaded.pretrain_classifier, data)


@app.command()
def pretrain_gan(
    data: TrainData,
    classifier: Classifier,
    output: StageOutput,
    seed: Seed = 0,
    config: Config = None,
    settings: Slice = None,
    device: Device = None,
    compile_: Compile = None,
    resume_every: ResumeEvery = None,
    trackers: Trackers = None,
    collapse_limit: CollapseLimit = None,
) -> None:
    """Train the GAN on the first task, against the classifier's features."""
    from genifer.training import gan

    loaded = _settings(
        config,
        settings,
        "pretrain_gan",
        device=device,
        compile=compile_,
        resume_every=resume_every,
        trackers=_trackers(trackers),
        collapse_limit=collapse_limit,
    )
    checkpoints = {"classifier": classifier}
    with _stage(
        "pretrain_gan", loaded.pretrain_gan.steps, seed, [data], checkpoints, output, loaded, settings
    ) as stage:
        gan.pretrain_gan(
            stage, loaded.generator, loaded.discriminator, loaded.gan, loaded.pretrain_gan, data, classifier
        )


@app.command()
def train_genifer(
    data: TrainData,
    old_classifier: OldClassifier,
    old_gan: OldGan,
    output: StageOutput,
    seed: Seed = 0,
    config: Config = None,
    settings: Slice = None,
    device: Device = None,
    compile_: Compile = None,
    resume_every: ResumeEvery = None,
    trackers: Trackers = None,
) -> None:
    """Train the classifier on a later task's images and on replayed ones."""
    from genifer.training import genifer

    loaded = _settings(
        config,
        settings,
        "train_genifer",
        device=device,
        compile=compile_,
        resume_every=resume_every,
        trackers=_trackers(trackers),
    )
    checkpoints = {"old classifier": old_classifier, "old GAN": old_gan}
    with _stage(
        "train_genifer", loaded.genifer.steps, seed, [data], checkpoints, output, loaded, settings
    ) as stage:
        genifer.train_genifer(stage, loaded.genifer, data, old_classifier, old_gan)


@app.command()
def train_gan(
    data: TrainData,
    classifier: Classifier,
    old_gan: OldGan,
    output: StageOutput,
    seed: Seed = 0,
    config: Config = None,
    settings: Slice = None,
    device: Device = None,
    compile_: Compile = None,
    resume_every: ResumeEvery = None,
    trackers: Trackers = None,
    collapse_limit: CollapseLimit = None,
) -> None:
    """Train the GAN on to a later task's classes."""
    from genifer.training import gan

    loaded = _settings(
        config,
        settings,
        "train_gan",
        device=device,
        compile=compile_,
        resume_every=resume_every,
        trackers=_trackers(trackers),
        collapse_limit=collapse_limit,
    )
    checkpoints = {"classifier": classifier, "old GAN": old_gan}
    with _stage(
        "train_gan", loaded.train_gan.steps, seed, [data], checkpoints, output, loaded, settings
    ) as stage:
        gan.train_gan(stage, loaded.gan, loaded.train_gan, data, classifier, old_gan)


@app.command()
def train_finetune(
    data: TrainData,
    old_classifier: OldClassifier,
    output: StageOutput,
    seed: Seed = 0,
    config: Config = None,
    settings: Slice = None,
    device: Device = None,
    compile_: Compile = None,
    resume_every: ResumeEvery = None,
    trackers: Trackers = None,
) -> None:
    """Lower bound: train the classifier on a later task's images only."""
    from genifer.training.supervised import train_on_images

    loaded = _settings(
        config,
        settings,
        "train_finetune",
        device=device,
        compile=compile_,
        resume_every=resume_every,
        trackers=_trackers(trackers),
    )
    checkpoints = {"old classifier": old_classifier}
    with _stage(
        "train_finetune", loaded.finetune.steps, seed, [data], checkpoints, output, loaded, settings
    ) as stage:
        train_on_images(stage, loaded.finetune, [data], old_classifier)


@app.command()
def train_joint(
    data: Annotated[
        list[Path], typer.Option("--data", help="Prepared training images, once for each task so far.")
    ],
    old_classifier: OldClassifier,
    output: StageOutput,
    seed: Seed = 0,
    config: Config = None,
    settings: Slice = None,
    device: Device = None,
    compile_: Compile = None,
    resume_every: ResumeEvery = None,
    trackers: Trackers = None,
) -> None:
    """Upper bound: train the classifier on the images of all tasks so far."""
    from genifer.training.supervised import train_on_images

    loaded = _settings(
        config,
        settings,
        "train_joint",
        device=device,
        compile=compile_,
        resume_every=resume_every,
        trackers=_trackers(trackers),
    )
    checkpoints = {"old classifier": old_classifier}
    with _stage(
        "train_joint", loaded.joint.steps, seed, data, checkpoints, output, loaded, settings
    ) as stage:
        train_on_images(stage, loaded.joint, data, old_classifier)


@app.command()
def evaluate(
    method: Annotated[
        str,
        typer.Option(
            "--method", help="Name for the column of that name; 'first_task' for what all methods share."
        ),
    ],
    classifier: Classifier,
    data: Annotated[
        list[Path], typer.Option("--data", help="Prepared test images, once for each task so far, in order.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for accuracy.csv and confusion.csv.")],
    seed: Seed = 0,
    config: Config = None,
    settings: Slice = None,
    device: Device = None,
) -> None:
    """Count the right answers on the test images of every task so far, and what is taken for what."""
    from genifer.evaluation.accuracy import evaluate
    from genifer.runtime.device import explained_memory, pick_device

    loaded = _settings(config, settings, "evaluate", device=device)
    picked = pick_device(loaded.runtime.device)
    with explained_memory("evaluation.batch_size"):
        evaluate(loaded.evaluation, method, seed, classifier, data, output, picked)
    _note_machine("evaluate", output, picked)


@app.command()
def evaluate_replay(
    gan: Annotated[Path, typer.Option("--gan", help="Checkpoint of a GAN.")],
    classifier: Annotated[
        Path, typer.Option("--classifier", help="The classifier that it was trained against.")
    ],
    training_data: Annotated[
        list[Path],
        typer.Option(
            "--training-data", help="Prepared training images, once for each task so far, in order."
        ),
    ],
    data: Annotated[
        list[Path], typer.Option("--data", help="Prepared test images, once for each task so far, in order.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for replay.csv and nearest.safetensors.")],
    seed: Seed = 0,
    config: Config = None,
    settings: Slice = None,
    device: Device = None,
) -> None:
    """Compare what a GAN replays with real images: by the classifier, its features, and in pixels."""
    from genifer.evaluation.replay import evaluate_replay
    from genifer.runtime.device import explained_memory, pick_device

    loaded = _settings(config, settings, "evaluate_replay", device=device)
    picked = pick_device(loaded.runtime.device)
    with explained_memory("evaluation.batch_size"):
        evaluate_replay(loaded.evaluation, seed, gan, classifier, training_data, data, output, picked)
    _note_machine("evaluate_replay", output, picked)


def _note_machine(stage: str, output: Path, device: torch.device) -> None:
    """Leave where a stage that does not train has run, for the costs of the run."""
    from genifer.runtime.status import STATUS, machine_of, write_status

    write_status(output / STATUS, {"stage": stage, "state": "done", **machine_of(device, "fp32")})


@app.command()
def tabulate(
    method: Annotated[list[str], typer.Option("--method", help="A method of the run; once for each.")],
    evaluation: Annotated[
        list[Path], typer.Option("--evaluation", help="A folder of evaluate; once for each.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for the tables.")],
) -> None:
    """Collect evaluations into accuracy.csv, summary.csv, confusion.csv, and JSON files for DVC."""
    from genifer.evaluation.tables import tabulate

    tabulate(method, evaluation, output)


@app.command()
def tabulate_replay(
    output: Annotated[Path, typer.Option("--output", help="The CSV file to write.")],
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(
            "--evaluation", help="replay.csv of evaluate-replay; once for each GAN.", show_default=False
        ),
    ] = None,
) -> None:
    """Collect the comparisons of all GANs into one table."""
    from genifer.evaluation.tables import tabulate_replay

    tabulate_replay(evaluation or [], output)


@app.command()
def tabulate_training(
    output: Annotated[Path, typer.Option("--output", help="The CSV file to write.")],
    metrics: Annotated[
        list[Path] | None,
        typer.Option(
            "--metrics", help="metrics.csv of a training; once for each training.", show_default=False
        ),
    ] = None,
) -> None:
    """Collect the metrics of all trainings into one table."""
    from genifer.evaluation.tables import tabulate_training

    tabulate_training(metrics or [], output)


@app.command()
def tabulate_costs(
    job: Annotated[list[Path], typer.Option("--job", help="Folder of a job; once for each.")],
    output: Annotated[Path, typer.Option("--output", help="The CSV file to write.")],
) -> None:
    """Collect time, memory and machine of each job from the notes in its folder."""
    from genifer.evaluation.costs import tabulate_costs

    tabulate_costs(job, output)


Accuracy = Annotated[Path, typer.Option("--accuracy", help="accuracy.csv of a run.")]
Confusion = Annotated[Path, typer.Option("--confusion", help="confusion.csv of a run.")]
PlotFolder = Annotated[Path, typer.Option("--output", help="Folder for the plots.")]


@app.command()
def plot_accuracy(
    accuracy: Accuracy,
    confusion: Confusion,
    output: PlotFolder,
    config: Config = None,
    settings: Slice = None,
) -> None:
    """Draw accuracy over classes, and the accuracy and confusion matrix of each method."""
    from genifer.evaluation.plots import accuracy as plots

    plots.plot_accuracy(_settings(config, settings, "plot").plots, accuracy, confusion, output)


@app.command()
def plot_forgetting(
    accuracy: Accuracy,
    confusion: Confusion,
    data: Annotated[
        list[Path], typer.Option("--data", help="Prepared test images, once for each task, in order.")
    ],
    output: PlotFolder,
    config: Config = None,
    settings: Slice = None,
) -> None:
    """Draw what is forgotten: of each task, and the ten worst classes of each method."""
    from genifer.evaluation.plots import forgetting

    forgetting.plot_forgetting(_settings(config, settings, "plot").plots, accuracy, confusion, data, output)


@app.command()
def plot_palettes(
    gan: Annotated[Path, typer.Option("--gan", help="Checkpoint of a GAN.")],
    classifier: Annotated[
        Path, typer.Option("--classifier", help="A classifier of the run, for the normalisation.")
    ],
    nearest: Annotated[Path, typer.Option("--nearest", help="nearest.safetensors of evaluate-replay.")],
    data: Annotated[
        list[Path], typer.Option("--data", help="Prepared test images, once for each task so far, in order.")
    ],
    output: PlotFolder,
    old_gan: Annotated[
        Path | None, typer.Option("--old-gan", help="The GAN after the task before.", show_default=False)
    ] = None,
    seed: Seed = 0,
    config: Config = None,
    settings: Slice = None,
) -> None:
    """Draw real images, the old generator's and the new one's, and those nearest to training images."""
    from genifer.evaluation.plots import palettes

    loaded = _settings(config, settings, "plot")
    palettes.plot_palettes(loaded.plots, seed, gan, old_gan, classifier, nearest, data, output)


@app.command()
def plot_replay(
    replay: Annotated[Path, typer.Option("--replay", help="replay.csv of a run.")],
    output: PlotFolder,
    config: Config = None,
    settings: Slice = None,
) -> None:
    """Draw how good the replay is: agreement with the label, and distance in features."""
    from genifer.evaluation.plots import replay as plots

    plots.plot_replay_quality(_settings(config, settings, "plot").plots, replay, output)


@app.command()
def plot_training(
    training: Annotated[Path, typer.Option("--training", help="training.csv of a run.")],
    output: PlotFolder,
    config: Config = None,
    settings: Slice = None,
) -> None:
    """Draw the curves of trainings, and how the GAN fares."""
    from genifer.evaluation.plots import training as plots

    plots.plot_training(_settings(config, settings, "plot").plots, training, output)


@app.command()
def write_tables(
    results: Annotated[Path, typer.Option("--results", help="Folder of a run with its CSV files.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the pages.")],
) -> None:
    """Write the run's tables as HTML pages, for the report."""
    from genifer.evaluation.pages import write_tables

    write_tables(results, output)


@app.command()
def plot_costs(
    costs: Annotated[Path, typer.Option("--costs", help="costs.csv of a run.")],
    output: PlotFolder,
    config: Config = None,
    settings: Slice = None,
) -> None:
    """Draw where the time went: a bar a stage."""
    from genifer.evaluation.plots import costs as plots

    plots.plot_costs(_settings(config, settings, "plot").plots, costs, output)


@app.command()
def summary(
    config: Config = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Name of a run, instead of --config.", show_default=False)
    ] = None,
) -> None:
    """Print a run's table of methods and where its plots are."""
    import pandas as pd

    from genifer.evaluation.tables import summary_text

    if (config is None) == (run is None):
        raise GeniferError("give --config with a run file, or --run with a run's name")
    folder = Path("results") / (run or load_settings(config).run)  # type: ignore[arg-type]
    table = folder / "summary.csv"
    if not table.is_file():
        raise GeniferError(f"{table}: is missing; run snakemake with this run file first")
    typer.echo(f"{summary_text(pd.read_csv(table))}\n(accuracies in %)\n")
    typer.echo(f"tables  {folder / 'accuracy.csv'}, {table}\nplots   {folder / 'plots'}/")


@app.command()
def watch(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Names of runs; else those under way, or the newest.", show_default=False),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one plain line a run.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between looks.")] = 2.0,
    results: Annotated[Path, typer.Option("--results", help="Folder of the runs.")] = Path("results"),
) -> None:
    """Show where runs stand, live, from the files that their stages write.

    Ends when they have; exits with 1 where one has failed or stopped.
    """
    from genifer.watch.run import watch

    try:
        sound = watch(runs or [], results, every, once)
    except KeyboardInterrupt:
        raise typer.Exit from None
    raise typer.Exit(0 if sound else 1)


@app.command()
def record(
    config: Annotated[Path, typer.Option("--config", help="Run file of a run that Snakemake has made.")],
) -> None:
    """Record a run with DVC: its stage in dvc.yaml, its data, checkpoints, tables and plots."""
    from genifer.versioning import record_run

    record_run(config)


@app.command("settings")
def show_settings(
    schema: Annotated[
        bool, typer.Option("--schema", help="Print their JSON schema instead, for editors.")
    ] = False,
) -> None:
    """Print all settings with their defaults, the paper's, and what they mean."""
    import json

    from genifer.defaults import default_run_file

    text = json.dumps(RunSettings.model_json_schema(), indent=2) + "\n" if schema else default_run_file()
    typer.echo(text, nl=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"genifer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def main() -> None:
    """Run the command line; a `GeniferError` is one message and its exit code."""
    try:
        app()
    except GeniferError as error:
        # The log's pipe may have gone with the signal that stopped this stage.
        with contextlib.suppress(BrokenPipeError):
            typer.secho(f"genifer: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
