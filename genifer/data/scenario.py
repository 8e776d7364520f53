"""The scenario: the class order, and its division into tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genifer.config import SEED, ScenarioSettings
from genifer.errors import GeniferError
from genifer.task_sizes import refusal_of_tasks


@dataclass(frozen=True)
class Scenario:
    """The classes of a data set in the order in which they are learned.

    Everywhere in the project, labels are positions in ``order``: the classes of task 0 come first, so the
    first logits are those of the classes seen so far.

    Attributes:
        order: for each label, the index of its class in the data set.
        tasks: number of new classes in each task.
    """

    order: tuple[int, ...]
    tasks: tuple[int, ...]

    @property
    def n_classes(self) -> int:
        """Number of classes in all tasks."""
        return len(self.order)

    def first_label(self, task: int) -> int:
        """Return the first new label of a task."""
        return sum(self.tasks[:task])

    def labels(self, task: int) -> range:
        """Return the new labels of a task."""
        first = self.first_label(task)
        return range(first, first + self.tasks[task])


def build_scenario(settings: ScenarioSettings, class_names: Sequence[str]) -> Scenario:
    """Order the classes of a data set and divide them into tasks.

    Args:
        settings: the number of classes per task, and the class order, for one seed (`of_seed`).
        class_names: names of all classes of the data set.

    Raises:
        GeniferError: the tasks do not add up to the classes, or a class does not exist.
    """
    n = len(class_names)
    if settings.class_order == SEED:
        raise GeniferError("scenario.class_order: seed draws one order per seed; choose the seed with --seed")
    if isinstance(settings.class_order, list):
        order = [_index(entry, class_names) for entry in settings.class_order]
        if len(set(order)) != len(order):
            raise GeniferError(
                "scenario.class_order names a class both by index and by name; list each class once"
            )
    elif settings.class_order == "sorted":
        order = list(range(n))
    else:
        order = [int(c) for c in np.random.RandomState(settings.class_order).permutation(n)]
    if sum(settings.tasks) != len(order):
        found = f"the data set has {len(order)}"
        raise GeniferError(refusal_of_tasks(settings.tasks, found, len(order)))
    return Scenario(tuple(order), tuple(settings.tasks))


def _index(entry: int | str, class_names: Sequence[str]) -> int:
    if isinstance(entry, str):
        if entry in class_names:
            return list(class_names).index(entry)
        shown = ", ".join(class_names[:10]) + (", ..." if len(class_names) > 10 else "")
        raise GeniferError(f"scenario.class_order: no class is called '{entry}'; the data set has {shown}")
    if not 0 <= entry < len(class_names):
        raise GeniferError(
            f"scenario.class_order: class {entry} does not exist; allowed: 0 to {len(class_names) - 1}"
        )
    return entry
