"""Sizes of tasks as papers write them: ``50 + 5 x 10`` is a first task of 50 classes, then five of 10."""

from __future__ import annotations

import re

TERM = re.compile(r"(?:(\d+)\s*[x×]\s*)?(\d+)")  # noqa: RUF001
MOST_TASKS = 10_000
"""No data set has as many classes; a misprint must not fill the memory."""


def parse_tasks(text: str) -> list[int]:
    """Read sizes of tasks, such as ``50 + 5 x 10`` or ``10 x 10``.

    Raises:
        ValueError: the text is none.
    """
    tasks: list[int] = []
    for term in text.split("+"):
        match = TERM.fullmatch(term.strip())
        repeats, size = (int(match[1] or 1), int(match[2])) if match else (0, 0)
        if not (repeats and size) or len(tasks) + repeats > MOST_TASKS:
            raise ValueError(
                f"is '{text}'; write '50 + 5 x 10' for a first task of 50 classes and then five of 10 each, "
                "or '10 x 10' for ten tasks of 10"
            )
        tasks += [size] * repeats
    return tasks
