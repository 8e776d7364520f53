"""Experiment trackers, which receive the scalars, sample grids and settings of a training."""

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
"""The package that each tracker needs; its class ``Tracker`` is in the module of the same name."""


@dataclass(frozen=True)
class Tracked:
    """A tracked training.

    Attributes:
        folder: the job's folder. Trackers write to it unless their own settings name another place.
        title: a readable name.
        settings: the training's settings by full name.
        done: steps done before an interruption; scalars and images of later steps are discarded.
    """

    folder: Path
    title: str
    settings: Mapping[str, str]
    done: int


class Tracker(Protocol):
    """Interface of a tracker: starts anew if ``tracked.done`` is 0, else continues."""

    def __init__(self, tracked: Tracked) -> None: ...

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None: ...

    def image(self, step: int, name: str, image: Tensor) -> None:
        """Log an image: uint8, shape (channels, height, width), 1 or 3 channels."""

    def close(self, finished: bool) -> None: ...


class Trackers:
    """All trackers of a training. A tracker that fails is dropped with a warning; the training continues."""

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
    """Return the trackers whose package is not installed."""
    return [name for name in names if importlib.util.find_spec(PACKAGES[name]) is None]
