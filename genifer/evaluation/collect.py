"""The tables of a run by name."""

from __future__ import annotations

from collections.abc import Callable

from genifer.evaluation.costs import tabulate_costs
from genifer.evaluation.tables import tabulate, tabulate_replay, tabulate_training

COLLECTORS: dict[str, tuple[str, Callable[..., None]]] = {
    "accuracy": ("tabulate", tabulate),
    "replay": ("tabulate_replay", tabulate_replay),
    "training": ("tabulate_training", tabulate_training),
    "costs": ("tabulate_costs", tabulate_costs),
}
"""The job of each table, and the function that makes it."""
