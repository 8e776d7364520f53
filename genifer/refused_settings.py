"""Messages about refused settings: one line per setting, with its name, value and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

NAMES = "letters, digits, '_', '-' and '.', beginning with a letter or digit"
ALLOWED: Mapping[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a block of settings",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a block of settings",
    "path_type": "a path",
    "string_pattern_mismatch": NAMES,
    "string_type": "a word, or text in quotes",
    "too_short": "at least {min_length} values",
}
"""What is allowed instead, by pydantic's type of error."""
UNKNOWN = "extra_forbidden"
"""Pydantic's type of error for a setting that does not exist."""


def explain(error: ValidationError, source: str, model: type[BaseModel]) -> str:
    """Turn pydantic's report into one line per setting, with its name, value and what is allowed.

    Args:
        source: the file or option that the settings come from.
        model: class of the run's settings; the error may come from one of its blocks.
    """
    block = [name for name, field in model.model_fields.items() if _title(field.annotation) == error.title]
    settings: dict[tuple[str, ...], list[ErrorDetails]] = {}  # a union has one error per alternative
    for item in error.errors(include_url=False):
        parts = _parts(block, item["loc"], unknown=item["type"] == UNKNOWN)
        settings.setdefault(tuple(parts), []).append(item)
    lines = [line for parts, items in settings.items() for line in _lines(parts, items, model)]
    return "\n".join(f"{source}: {line}" for line in dict.fromkeys(lines))


def _lines(parts: Sequence[str], items: list[ErrorDetails], model: type[BaseModel]) -> list[str]:
    """Return what is wrong with one setting: one line per value that is refused."""
    name = ".".join(parts)
    lines: list[str] = []
    allowed: dict[str, list[str]] = {}  # by refused value
    # A refused value in a list says more than the alternatives to the list.
    for item in [item for item in items if _in_list(item)] or items:
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == UNKNOWN:
            lines.append(f"{name} does not exist; {_instead(parts, model)}")
        elif not name or (item["type"] == "value_error" and message.startswith(f"{parts[0]}.")):
            lines.append(message)
        elif item["type"] == "value_error":
            lines.append(f"{name} {message}")
        else:
            allowed.setdefault(repr(item["input"]), []).append(_allowed(item))
    return lines + [
        f"{name}: {value} is not allowed; use {' or '.join(dict.fromkeys(instead))}"
        for value, instead in allowed.items()
    ]


def _in_list(item: ErrorDetails) -> bool:
    return any(isinstance(part, int) for part in item["loc"])


def _allowed(item: ErrorDetails) -> str:
    """Return what is allowed instead of a value."""
    if item["type"] not in ALLOWED:
        return item["msg"]
    limits = {
        name: int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        for name, limit in item.get("ctx", {}).items()
    }
    return ALLOWED[item["type"]].format(**limits).replace("at least 1 values", "at least one value")


def _parts(block: list[str], location: tuple[int | str, ...], *, unknown: bool) -> list[str]:
    """Return the names that lead to a setting, without positions in lists and alternatives of unions."""
    *outer, last = location or ("",)
    parts = block[:1] + [part for part in outer if isinstance(part, str) and not _names_a_type(part)]
    if unknown:  # the key may be empty or look like a type
        return [*parts, str(last) or "''"]
    return [*parts, last] if isinstance(last, str) and last and not _names_a_type(last) else parts


def _title(annotation: Any) -> str | None:
    return getattr(annotation, "__name__", None)


def _names_a_type(part: str) -> bool:
    """Return whether a part of an error's location is pydantic's name for an alternative of a union."""
    return (
        "[" in part
        or part.startswith(("function-", "constrained-"))
        or part in ("bool", "int", "float", "str")
    )


def _instead(parts: Sequence[str], model: type[BaseModel]) -> str:
    """Return a hint at what to write instead of a setting that does not exist."""
    block: Any = model
    for part in parts[:-1]:
        block = block.model_fields[part].annotation
    name, _, key = parts[-1].partition(".")
    if len(parts) == 1 and key and name in model.model_fields:
        return (
            f"settings are in blocks: write '{name}={{{key}: ...}}' on the command line, or '{key}: ...' "
            f"under '{name}:' in a run file"
        )
    near = get_close_matches(parts[-1], block.model_fields, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}settings here are: {', '.join(sorted(block.model_fields))}"
