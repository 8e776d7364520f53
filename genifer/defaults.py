"""The default settings as a commented run file: what ``config/config.yaml`` is made of."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from pydantic import BaseModel

from genifer.config import RunSettings

HEADER = """\
# The paper's experiment: CIFAR-100, 50 + 5 x 10 classes (Thandiackal et al., 2024).
# These are all settings there are, with their defaults. Another run file states only
# what differs. Made by `genifer settings`; a test holds it to genifer/config.py.
"""
WIDTH = 96


def default_run_file() -> str:
    """All settings as YAML, each under its description."""
    return HEADER + _block(RunSettings(), 0)


def _block(block: BaseModel, indent: int) -> str:
    margin = " " * indent
    lines = []
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        is_block = isinstance(value, BaseModel)
        if indent == 0:
            lines.append("")
        description = field.description or (type(value).__doc__ if is_block else None)
        if description and not description.startswith("Base of"):
            text = " ".join(description.split())
            lines += textwrap.wrap(
                text, WIDTH - indent, initial_indent=f"{margin}# ", subsequent_indent=f"{margin}# "
            )
        if is_block:
            lines += [f"{margin}{name}:", _block(value, indent + 2).rstrip("\n")]
        else:
            lines.append(f"{margin}{name}: {_scalar(value)}")
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    """A value in YAML's flow style, which for these types is JSON; plain words without quotes."""
    if isinstance(value, str) and value.replace("_", "").isalnum() and not value[0].isdigit():
        return value
    if isinstance(value, list):
        return f"[{', '.join(_scalar(entry) for entry in value)}]"
    return json.dumps(value)
