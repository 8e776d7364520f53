"""Reference pages of all settings: meaning, default, allowed values; from the models that check run files."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from genifer.config import registry_of
from genifer.run_file import LAST_BLOCKS, flow_style
from genifer.settings_model import settings_model

SETTINGS = """\
# Settings

A run file states the settings that differ from these defaults, which are those of the paper's experiment.
Settings lie in blocks: `gan.r1_gamma` is the line `r1_gamma` under `gan:`. The blocks of the methods are on
[a page of their own](method-settings.md). `genifer settings` prints all of them as a run file.

## Run { #run-file }

Settings outside any block.

"""
METHOD_SETTINGS = """\
# Settings of the methods

Each method has a block of its own in the run file. [All other settings](settings.md).

"""
TYPES = {"integer": "a whole number", "number": "a number", "boolean": "`true` or `false`", "null": "`null`"}
LIMITS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "of at most",
    "exclusiveMaximum": "below",
}


def settings_reference() -> str:
    """Return the page of all settings except those of methods, as Markdown."""
    registry = registry_of([])
    defaults = settings_model(registry)()
    names = [name for name in type(defaults).model_fields if name not in registry.methods]
    alone = [name for name in names if not isinstance(getattr(defaults, name), BaseModel)]
    blocks = [name for name in names if name not in (*alone, *LAST_BLOCKS)]
    return "".join([SETTINGS, *settings(defaults, alone), *sections(defaults, [*blocks, *LAST_BLOCKS])])


def method_settings_reference() -> str:
    """Return the page of the methods' settings, as Markdown."""
    registry = registry_of([])
    return "".join([METHOD_SETTINGS, *sections(settings_model(registry)(), registry.methods)])


def sections(block: BaseModel, names: Iterable[str], path: str = "", level: int = 2) -> Iterator[str]:
    """Return one section per block, each with its own settings before the blocks inside it."""
    for name in names:
        inner = getattr(block, name)
        text = type(block).model_fields[name].description or type(inner).__doc__ or ""
        below = list(type(inner).model_fields)
        nested = [other for other in below if isinstance(getattr(inner, other), BaseModel)]
        yield f"{'#' * level} {path}{name} {{ #{path}{name} }}\n\n{escaped(text)}\n\n"
        yield from settings(inner, [other for other in below if other not in nested], f"{path}{name}.")
        yield from sections(inner, nested, f"{path}{name}.", level + 1)


def settings(block: BaseModel, names: Iterable[str], path: str = "") -> Iterator[str]:
    """Return the settings of a block as a definition list, each with its name as anchor."""
    schema = type(block).model_json_schema()["properties"]
    for name in names:
        full, default = f"{path}{name}", flow_style(block.model_dump(mode="json")[name])
        text = escaped(type(block).model_fields[name].description or "")
        yield f"[`{full}`](#{full}) {{ #{full} }}\n:   {text}\n\n    "
        yield f"Default: `{default}`. Allowed: {allowed(schema[name])}.\n\n"


def allowed(schema: Mapping[str, Any]) -> str:
    """Describe in words which values the JSON schema of a setting allows."""
    if "anyOf" in schema:
        return ", or ".join(map(allowed, schema["anyOf"]))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        *others, last = (f"`{value}`" for value in values)
        return f"{', '.join(others)} or {last}" if others else last
    kind = schema["type"]
    if kind == "array":
        article = "a non-empty" if schema.get("minItems") else "a"
        return f"{article} list (each entry: {allowed(schema['items'])})"
    if kind == "object":
        return "a mapping"
    if kind == "string":
        what = "a path" if schema.get("format") == "path" else "a text"
        return f"{what} that matches `{schema['pattern']}`" if "pattern" in schema else what
    if {"minimum", "maximum"} <= schema.keys():
        return f"{TYPES[kind]} from {schema['minimum']} to {schema['maximum']}"
    limits = " and ".join(f"{words} {schema[limit]}" for limit, words in LIMITS.items() if limit in schema)
    return f"{TYPES[kind]} {limits}".rstrip()


def escaped(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False)
