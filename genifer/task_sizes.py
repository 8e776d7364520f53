"""Sizes of tasks as in papers: ``50 + 5 x 10`` means a first task of 50 classes and then five of 10."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

TERM = re.compile(r"(?:(\d+)\s*[x×]\s*)?(\d+)")  # noqa: RUF001
MOST_TASKS = 10_000
"""Maximum number of tasks, more than any data set has classes, so that a typo cannot fill the memory."""


def parse_tasks(text: str) -> list[int]:
    """Parse sizes of tasks, such as ``50 + 5 x 10`` or ``10 x 10``.

    Raises:
        ValueError: the text does not follow this notation.
    """
    tasks: list[int] = []
    for term in text.split("+"):
        match = TERM.fullmatch(term.strip())
        repeats, size = (int(match[1] or 1), int(match[2])) if match else (0, 0)
        if not (repeats and size) or len(tasks) + repeats > MOST_TASKS:
            raise ValueError(
                f"is '{text}'; write '50 + 5 x 10' for a first task of 50 classes and then five of 10 each, "
                "'10 x 10' for ten tasks of 10, or a list: [50, 10, 10, 10, 10, 10]"
            )
        tasks += [size] * repeats
    return tasks


def tasks_text(tasks: Sequence[int]) -> str:
    """Format sizes of tasks as text that `parse_tasks` reads back."""
    first, *later = tasks
    if not later or all(size == first for size in later):
        return f"{len(tasks)} x {first}"
    repeats = [(size, len(list(group))) for size, group in groupby(later)]
    return " + ".join(
        [str(first), *(f"{count} x {size}" if count > 1 else str(size) for size, count in repeats)]
    )


def fitting_tasks(tasks: Sequence[int], n_classes: int) -> list[list[int]]:
    """Return similar sizes of tasks that add up to a number of classes, the most similar first."""
    n_later = len(tasks) - 1
    first = n_classes - sum(tasks[1:])
    half, rest = n_classes - n_classes // 2, n_classes // 2
    found = [[first, *tasks[1:]] if first > 0 else []]
    if n_later and rest and rest % n_later == 0:
        found.append([half] + [rest // n_later] * n_later)
    if n_classes % len(tasks) == 0:
        found.append([n_classes // len(tasks)] * len(tasks))
    if not any(found) and n_classes > 1:
        found.append([half] + [1] * rest)
    return [list(one) for one in dict.fromkeys(map(tuple, found)) if one]


def refusal_of_tasks(tasks: Sequence[int], found: str, n_classes: int) -> str:
    """Return the message that tasks do not add up to the classes, with similar sizes of tasks that do.

    Args:
        found: text that says where the number of classes comes from, such as ``cifar100 has 100``.
    """
    fitting = " or ".join(f"'{tasks_text(one)}'" for one in fitting_tasks(tasks, n_classes))
    such_as = f", such as {fitting}" if fitting else ""
    return (
        f"scenario.tasks: {list(tasks)} add up to {sum(tasks)} classes, but {found}; change scenario.tasks "
        f"so that they add up to {n_classes}{such_as}"
    )
