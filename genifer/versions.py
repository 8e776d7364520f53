"""Versions of jobs, and the settings that each job depends on.

Snakemake and DVC do not track the package's code, only these versions and those of the methods and data sets.
Raise a job's version when a change of the code changes its results, and only then: this job, and the jobs
that depend on it, run again. ``tests/test_versions.py`` fails if that was forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from genifer.config import RunSettings, Variant, plain, registry_of
from genifer.errors import GeniferError
from genifer.methods.method import Method
from genifer.registry import Registry
from genifer.settings import Settings
from genifer.settings_model import settings_model

VERSIONS = {
    "download_data": 1,
    "prepare_data": 2,
    "use_checkpoint": 2,
    "pretrain_classifier": 3,
    "pretrain_gan": 3,
    "train_gan": 3,
    "evaluate": 3,
    "evaluate_replay": 2,
    "tabulate": 5,
    "tabulate_replay": 3,
    "tabulate_training": 2,
    "tabulate_costs": 4,
    "write_tables": 2,
    "plot": 5,
    "plot_published": 2,
}

COMPUTED_WITH = ("runtime.precision", "runtime.deterministic")
"""Settings of ``runtime`` on which all trainings and the evaluation of replay depend."""

JOB_SETTINGS: dict[str, tuple[str, ...]] = {
    "download_data": ("data.dataset", "data.archive_md5"),
    "prepare_data": ("data", "scenario"),
    "use_checkpoint": ("start.task", "gan.matching_stage", "gan.matching_mode"),
    "pretrain_classifier": ("classifier", "pretrain_classifier", *COMPUTED_WITH),
    "pretrain_gan": ("generator", "discriminator", "gan", "pretrain_gan", *COMPUTED_WITH),
    "train_gan": ("gan", "train_gan", *COMPUTED_WITH),
    "evaluate": ("evaluation",),
    "evaluate_replay": ("evaluation", *COMPUTED_WITH),
    "plot": ("plots", "data.dataset", "scenario.tasks"),
    "plot_published": ("plots", "data.dataset", "scenario.tasks", "evaluation.split"),
}
"""Settings that each job depends on and may read. For trainings of methods see `settings_of_job`."""

SHARED_BY_METHODS = ("data", "scenario", "evaluation", "start.task")
"""Blocks and settings on which the accuracies of all methods depend."""

NOT_OF_RESULTS = (
    "data.archive",
    "data.archive_md5",
    "data.max_unpacked_gb",
    "data.max_bad_images",
    "evaluation.batch_size",
    *COMPUTED_WITH,
)
"""Settings of the machine: with other values, accuracies are the same up to rounding."""

NEWER_THAN_RESULTS: dict[str, dict[str, Any]] = {
    "classifier": {"stem": "small"},
    "pretrain_classifier": {"rotations": False},
}
"""Settings added after results were recorded, with the value that those results correspond to.

A job's settings include them only if they have another value, so the recorded results stay valid.
"""

TRAIN = "train_"

GAN_JOBS = ("pretrain_gan", "train_gan")


def method_of_job(job: str, registry: Registry) -> type[Method] | None:
    """Return the method whose training a job is; None for other jobs."""
    return None if job in VERSIONS else registry.method(job.removeprefix(TRAIN))


def steps_of_job(job: str, settings: RunSettings) -> int:
    """Return the number of steps of a training."""
    block: Any = getattr(settings, job if job in VERSIONS else job.removeprefix(TRAIN))
    return int(block.steps)


def batch_block_of_job(job: str) -> str:
    """Return the block of settings that holds a training's batch size and learning rate."""
    if job in GAN_JOBS:
        return "gan"
    return job if job in VERSIONS else job.removeprefix(TRAIN)


def settings_of_job(job: str, registry: Registry) -> tuple[str, ...]:
    """Return the full names of the blocks and settings that a job depends on."""
    method = method_of_job(job, registry)
    if method is None:
        return JOB_SETTINGS[job]
    network = ("classifier",) if method.first_task == "own" else ()
    return (*network, method.name, *COMPUTED_WITH)


def version_of_job(job: str, settings: RunSettings, method: type[Method] | None = None) -> int | str:
    """Return the version of a job.

    Args:
        method: the method whose classifier an evaluation reads.
    """
    own = method_of_job(job, settings.registry)
    if own is not None:
        return own.version_text()
    version = VERSIONS[job]
    if job in ("download_data", "prepare_data"):
        return f"{version}.{settings.registry.dataset(settings.data.dataset).version_text()}"
    if job == "evaluate" and method is not None and method.has_own_logits():
        return f"{version}.{method.version_text()}"
    return version


def job_settings(settings: RunSettings, job: str, method: type[Method] | None = None) -> dict[str, Any]:
    """Return the settings that a job depends on, as plain data, with its version."""
    everything = plain(settings)
    part: dict[str, Any] = {"version": version_of_job(job, settings, method)}
    for key in settings_of_job(job, settings.registry):
        block, _, name = key.partition(".")
        if name:
            part.setdefault(block, {})[name] = everything[block][name]
        else:
            older = NEWER_THAN_RESULTS.get(block, {})
            part[block] = {
                name: value
                for name, value in everything[block].items()
                if name not in older or value != older[name]
            }
    return part


def settings_of_variant(variant: Variant, job: str) -> dict[str, Any]:
    """Return the settings that a variant's job depends on, as plain data, with its version."""
    return job_settings(variant.settings, job, variant.method)


def parse_json(text: str, option: str) -> dict[str, Any]:
    """Parse the value of a command-line option as a JSON object.

    Raises:
        GeniferError: it is not a JSON object.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise GeniferError(f"{option} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise GeniferError(f"{option} must be a JSON object")
    return content


def settings_from_job(text: str, job: str, runtime: Mapping[str, Any]) -> RunSettings:
    """Read the settings of a job from the JSON that the workflow passes; other settings are defaults.

    Args:
        runtime: ``plugins``, and settings of the block ``runtime`` that do not affect results.

    Raises:
        GeniferError: the JSON does not fit this job and its version.
    """
    content = parse_json(text, "--settings")
    registry = registry_of(runtime.get("plugins", []))
    method = method_of_job(job, registry)
    version = content.pop("version", None)
    known = method.version_text() if method is not None else VERSIONS[job]
    if str(version).split(".")[0] != str(known).split(".")[0]:
        raise GeniferError(
            f"--settings: version {version} of {job} is not the installed one ({known}); "
            "install this checkout again: pip install -e ."
        )
    for block, older in NEWER_THAN_RESULTS.items():
        if block in content:
            content[block] = older | content[block]
    places = {name: value for name, value in runtime.items() if name != "plugins"}
    content["runtime"] = content.get("runtime", {}) | places
    model = settings_model(registry)
    try:
        blocks: dict[str, Any] = {name: _block(model, name, values) for name, values in content.items()}
    except (ValidationError, KeyError) as error:
        raise GeniferError(f"--settings of {job}: {error}") from error
    return model.model_construct(**blocks, plugins=list(runtime.get("plugins", [])))


def _block(model: type[RunSettings], name: str, values: Mapping[str, Any]) -> Settings:
    """Build a block of settings, of which a job may get only some keys.

    Keys are validated one by one, so that settings that the job does not get cannot make the block invalid.
    """
    block = model.model_fields[name].annotation
    assert isinstance(block, type)
    assert issubclass(block, Settings)
    if set(values) == set(block.model_fields):
        return block.model_validate(values)
    taken: dict[str, Any] = {}
    for key, value in values.items():
        field = block.model_fields[key]
        kind: Any = Annotated[field.annotation, field]
        taken[key] = TypeAdapter(kind).validate_python(value)
    return block.model_construct(**taken)
