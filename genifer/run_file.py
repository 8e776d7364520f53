"""Run files: reading and checking them, and writing the defaults as one."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from genifer.config import (
    DEFAULT,
    RunSettings,
    RuntimeSettings,
    merged,
    plain,
    registry_of,
)
from genifer.errors import GeniferError
from genifer.refused_settings import explain
from genifer.registry import Registry
from genifer.settings_model import settings_model
from genifer.variants import check_variant, refuse_other_blocks

RENAMED = {"classifier.readout_bias": "classifier.head_bias"}
"""Settings of earlier versions, and their current names."""

HEADER = """\
# The paper's experiment: CIFAR-100, 50 + 5 x 10 classes (Thandiackal et al., 2024).
# All settings with their defaults. Another run file states only what differs.
# Made by `genifer settings`.
"""
WIDTH = 96


def load_settings(path: Path) -> RunSettings:
    """Read and check a run file.

    Raises:
        GeniferError: the file cannot be read, or a setting is unknown or out of range.
    """
    return parse_settings(read_yaml(path), source=str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the settings in a run file, without checking them.

    Raises:
        GeniferError: the file cannot be read, or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GeniferError(
            f"{path}: cannot be read ({error.strerror}); give the path of a run file, "
            "for example config/quickstart.yaml"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GeniferError(f"{path}: is not valid YAML: {error}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise GeniferError(
            f"{path}: must hold settings as 'key: value' lines, not a {type(content).__name__}"
        )
    return content


def parse_settings(content: Mapping[str, Any], source: str) -> RunSettings:
    """Check settings given as a mapping.

    Args:
        content: the settings that differ from the defaults.
        source: the file or option that they come from, for messages.

    Raises:
        GeniferError: a setting is unknown or out of range, or settings do not fit together.
    """
    _refuse_renamed(content, source)
    if "axes" in content:
        raise GeniferError(
            f"{source}: axes: this is a grid of several runs; start it with: snakemake --snakefile "
            "workflow/grid.smk --configfile GRID_FILE"
        )
    registry = _registry(content, source)
    model = settings_model(registry)
    settings_in_full = merged(model().model_dump(), content)
    with _explained(source, model):
        if isinstance(settings_in_full.get("data"), Mapping):
            settings_in_full["data"] = _with_dataset_defaults(settings_in_full["data"], registry, source)
        settings = model.model_validate(settings_in_full)
    for label, own in settings.stated_variants().items():
        with _explained(f"{source}: methods.{label}", model):
            refuse_other_blocks(label, own, registry)
            check_variant(settings.variant(label))
    return settings


def parse_mapping(text: str, option: str) -> dict[str, Any]:
    """Parse the value of a command-line option as a mapping, in JSON or in YAML's flow style.

    Raises:
        GeniferError: it is not a mapping.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise GeniferError(f"{option} is not valid JSON or YAML: {error}") from error
    if not isinstance(content, dict):
        raise GeniferError(f"{option}: {text!r} is not a mapping, such as '{{compile: off}}'")
    return content


def with_runtime(run: RunSettings, changes: Mapping[str, Any]) -> RunSettings:
    """Return the settings with changes to the block ``runtime`` from the command line.

    Raises:
        GeniferError: a setting does not exist or is out of range.
    """
    block = plain(run.runtime) | {name: value for name, value in changes.items() if name != "plugins"}
    with _explained("--runtime", type(run)):
        return run.model_copy(update={"runtime": RuntimeSettings.model_validate(block)})


def _registry(content: Mapping[str, Any], source: str) -> Registry:
    plugins = content.get("plugins") or []
    if not isinstance(plugins, Sequence) or isinstance(plugins, str):
        raise GeniferError(
            f"{source}: plugins: {plugins!r} is not allowed; give a list of Python files, such as "
            "[my/method.py]"
        )
    return registry_of([Path(str(plugin)) for plugin in plugins])


def _with_dataset_defaults(data: Mapping[str, Any], registry: Registry, source: str) -> dict[str, Any]:
    """Return the data block with the data set's own values in place of ``default``."""
    name = data["dataset"]
    if not isinstance(name, str) or name not in registry.datasets:
        raise GeniferError(
            f"{source}: data.dataset: {name!r} is not known; {registry.hint(registry.datasets)}"
        )
    dataset = registry.datasets[name]
    resolved = dict(data)
    for key in ("mean", "std"):
        if resolved[key] == DEFAULT:
            values = getattr(dataset, key)
            fits = values is not None and len(values) == resolved["channels"]
            resolved[key] = list(values) if fits else None
    if resolved["archive_md5"] == DEFAULT:
        resolved["archive_md5"] = dataset.md5
    archive = resolved["archive"]
    if dataset.archive == "required" and archive is None:
        raise GeniferError(
            f"{source}: data.archive is missing; for data.dataset: {name}, set it to the path of "
            f"{dataset.archive_format}"
        )
    if dataset.archive == "none" and archive is not None:
        raise GeniferError(
            f"{source}: data.archive: {name} needs no archive ({dataset.summary()}); set it to null"
        )
    return resolved


def _refuse_renamed(content: Mapping[str, Any], source: str) -> None:
    for old, new in RENAMED.items():
        block, _, key = old.partition(".")
        if isinstance(content.get(block), Mapping) and key in content[block]:
            raise GeniferError(f"{source}: {old} is now called {new}; rename it")


@contextmanager
def _explained(source: str, model: type[RunSettings]) -> Iterator[None]:
    """Context manager: turn validation errors into messages that begin with their source."""
    try:
        yield
    except ValidationError as error:
        raise GeniferError(explain(error, source, model)) from None
    except GeniferError as error:
        message = str(error)
        raise GeniferError(message if message.startswith(source) else f"{source}: {message}") from None
    except ValueError as error:
        raise GeniferError(f"{source}: {error}") from None


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Map the full names of settings, such as gan.r1_gamma, to their values as text."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = "null" if value is None else str(value)
    return flat


LAST_BLOCKS = ("evaluation", "plots", "runtime")
"""Blocks that follow the methods' blocks in the file of defaults."""


def default_run_file(registry: Registry) -> str:
    """Return all settings and their defaults as YAML, each below its description."""
    defaults = settings_model(registry)()
    names = [name for name in type(defaults).model_fields if name not in LAST_BLOCKS]
    return HEADER + _block(defaults, [*names, *LAST_BLOCKS], 0)


def _block(block: BaseModel, names: Sequence[str], indent: int) -> str:
    margin = " " * indent
    lines = []
    for name in names:
        field, value = type(block).model_fields[name], getattr(block, name)
        if indent == 0:
            lines.append("")
        description = field.description or (type(value).__doc__ if isinstance(value, BaseModel) else None)
        if description:
            text = " ".join(description.split())
            lines += textwrap.wrap(
                text,
                WIDTH - indent,
                initial_indent=f"{margin}# ",
                subsequent_indent=f"{margin}# ",
                break_on_hyphens=False,
            )
        if isinstance(value, BaseModel):
            below = _block(value, list(type(value).model_fields), indent + 2)
            lines += [f"{margin}{name}:", below.rstrip("\n")]
        else:
            lines.append(f"{margin}{name}: {flow_style(value)}")
    return "\n".join(lines) + "\n"


def run_file_text(settings: Mapping[str, Any]) -> str:
    """Return settings as the YAML of a run file, with lists on one line."""
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line."""


_Dumper.add_representer(
    list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def flow_style(value: Any) -> str:
    """Format a value in YAML's flow style, which for these types is JSON, but without quotes for words."""
    if isinstance(value, str) and value.replace("_", "").isalnum() and not value[0].isdigit():
        return value
    if isinstance(value, list):
        return f"[{', '.join(flow_style(entry) for entry in value)}]"
    return json.dumps(value)
