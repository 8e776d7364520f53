"""Experiment trackers: they receive scalars, sample grids and settings of a training."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

PACKAGES = {"tensorboard": "tensorboard", "dvclive": "dvclive", "mlflow": "mlflow", "wandb": "wandb"}
"""Of each tracker the package that it needs; its class ``Tracker`` lies in the module of its name here."""


@dataclass(frozen=True)
class Tracked:
    """The training that is tracked.

    Attributes:
        folder: of the job; trackers keep their files below it, or where their own settings say.
        title: for people.
        settings: by their full names.
        done: steps done before an interruption; what was logged of later steps is discarded.
    """

    folder: Path
    title: str
    settings: Mapping[str, str]
    done: int


class Tracker(Protocol):
    """Begins anew where ``tracked.done`` is 0, and else goes on."""

    def __init__(self, tracked: Tracked) -> None: ...

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None: ...

    def image(self, step: int, name: str, image: Tensor) -> None:
        """Take an image (channels, height, width), uint8, of 1 or 3 channels."""

    def close(self, finished: bool) -> None: ...


class Trackers:
    """All trackers of a training. One that fails is dropped with a warning; the training continues."""

    def __init__(self, names: Sequence[str], tracked: Tracked) -> None:
        self.tracked = tracked
        self.active: dict[str, Tracker] = {}
        for name in names:
            with self._dropped_on_failure(name):
                module = importlib.import_module(f"genifer.runtime.tracking.{name}")
                self.active[name] = cast("type[Tracker]", module.Tracker)(tracked)

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, tracker in list(self.active.items()):
            with self._dropped_on_failure(name):
                tracker.scalars(step, scalars)

    def image(self, step: int, name: str, image: Tensor) -> None:
        for tracker_name, tracker in list(self.active.items()):
            with self._dropped_on_failure(tracker_name):
                tracker.image(step, name, image)

    def close(self, finished: bool) -> None:
        for name, tracker in list(self.active.items()):
            with self._dropped_on_failure(name):
                tracker.close(finished)

    @contextmanager
    def _dropped_on_failure(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.active.pop(name, None)
            log.warning("%s: %s receives nothing from here on (%s)", self.tracked.folder, name, error)


def missing_packages(names: Sequence[str]) -> list[str]:
    """Trackers whose package is not installed."""
    return [name for name in names if importlib.util.find_spec(PACKAGES[name]) is None]
