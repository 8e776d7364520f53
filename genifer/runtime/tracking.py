"""Scalars of a training to TensorBoard."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes events to a folder of its own, which a stage that starts anew empties first.

    Args:
        done: steps done by an interrupted run; events that it wrote after them are taken back.
    """

    def __init__(self, folder: Path, done: int) -> None:
        if done == 0:
            shutil.rmtree(folder, ignore_errors=True)
        self.writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()
