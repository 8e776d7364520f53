"""The options that commands share, each defined once."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from genifer.config import RunSettings


def option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(name, help=text, **more)


RunFile = Annotated[Path, option("--config", "Run file, such as config/quickstart.yaml.")]
Output = Annotated[Path, option("--output", "Folder for the files of this job.")]
Results = Annotated[Path, option("--results", "Folder of the run, such as results/quickstart.")]
Data = Annotated[list[Path], typer.Argument(metavar="DATA...", help="Prepared images, one file per task.")]
OptionalData = Annotated[list[Path] | None, typer.Argument(metavar="[DATA...]", help="Prepared images.")]
Classifier = Annotated[Path, option("--classifier", "Checkpoint of a classifier.")]
Gan = Annotated[Path, option("--gan", "Checkpoint of a GAN.")]
OldClassifier = Annotated[Path | None, option("--old-classifier", "Classifier after the previous task.")]
OldGan = Annotated[Path | None, option("--old-gan", "GAN after the previous task.")]
Pretrained = Annotated[
    Path | None, option("--pretrained", "Weights file that classifier.pretrained refers to.")
]
Label = Annotated[str, option("--method", "Label for the column `method`.")]
Seed = Annotated[int, option("--seed", "Seed of the training.", min=0)]
Device = Annotated[str | None, option("--device", "auto, cpu or cuda; overrides runtime.device.")]
AsJson = Annotated[bool, option("--json", "Print one JSON object, for scripts.")]


@dataclass
class SettingsOptions:
    """Source of a job's settings: a run file, or JSON passed by the workflow."""

    config: Annotated[Path | None, option("--config", "Run file, such as config/quickstart.yaml.")] = None
    settings: Annotated[str | None, option("--settings", "Settings as JSON, instead of --config.")] = None

    def load(self, job: str) -> RunSettings:
        """Read the settings of a job."""
        from genifer.job_input import read_job_settings

        return read_job_settings(job, self.config, self.settings, {})

    def table_settings(self, job: str) -> dict[str, Any]:
        """Read from which folders a table is collected."""
        from genifer.job_input import read_table_settings

        return read_table_settings(job, self.config, self.settings)


@dataclass
class JobOptions(SettingsOptions):
    """Options of trainings and evaluations."""

    variant: Annotated[str | None, option("--variant", "Label of a variant in the run file.")] = None
    seed: Seed = 0
    device: Device = None
    runtime: Annotated[
        str | None, option("--runtime", "Settings of the runtime block, such as '{compile: off}'.")
    ] = None

    def load(self, job: str, method: str | None = None) -> RunSettings:
        """Read the settings of a job; ``method`` is the method that is trained, if any."""
        from genifer.job_input import read_job_settings
        from genifer.run_file import parse_mapping

        runtime = {} if self.runtime is None else parse_mapping(self.runtime, "--runtime")
        runtime |= {} if self.device is None else {"device": self.device}
        return read_job_settings(job, self.config, self.settings, runtime, self.variant, method)

    @contextmanager
    def training(self, job: str, method: str | None = None) -> Iterator[RunSettings]:
        """Yield the settings of a training in each of its processes, while it holds the lease on its GPUs.

        Import PyTorch inside the context, not before.
        """
        from genifer.runtime.gpu_lease import leased_gpus
        from genifer.runtime.processes import run_in_several
        from genifer.versions import steps_of_job

        run = self.load(job, method)
        count = run.runtime.gpus_per_job if steps_of_job(job, run) else 1
        with leased_gpus(run.runtime, count) as descriptors:
            run_in_several(count, descriptors)
            yield run


def shared_options(function: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter ``options`` by the options of its class, so that Typer sees them."""
    hints = get_type_hints(function, include_extras=True)
    kind = hints.pop("options")
    hints.pop("return")
    own, shared = inspect.signature(function).parameters, get_type_hints(kind, include_extras=True)
    fields = dataclasses.fields(kind)
    defaults = {name: own[name].default for name in hints} | {field.name: field.default for field in fields}
    hints |= {field.name: shared[field.name] for field in fields}

    def command(**given: Any) -> None:
        options = kind(**{field.name: given.pop(field.name) for field in fields})
        function(**given, options=options)

    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hint)
        for name, hint in hints.items()
    ]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = hints
    return command
