"""Scalars of a training to TensorBoard."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


class TensorBoard:
    """Writes events to a folder of its own, which a stage that starts anew empties first.

    Where it cannot write (a full disk, say), it warns and gives up; the training goes on.

    Args:
        done: steps done by an interrupted run; events that it wrote after them are taken back.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.folder = folder
        self.writer: SummaryWriter | None = None
        threading.excepthook = _report
        with self._given_up_on_failure():
            if done == 0:
                shutil.rmtree(folder, ignore_errors=True)
            self.writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        with self._given_up_on_failure():
            for name, value in scalars.items():
                if self.writer is not None:
                    self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        with self._given_up_on_failure():
            if self.writer is not None:
                self.writer.close()

    @contextmanager
    def _given_up_on_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.writer = None
            log.warning("%s: no TensorBoard events from here on (%s)", self.folder, error)


def _report(failure: threading.ExceptHookArgs) -> None:
    """Errors of TensorBoard's own thread come up again where it is used next; others are reported."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failure)
