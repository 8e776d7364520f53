"""TensorBoard: event files in the job's folder. Show them with ``tensorboard --logdir results/<run>``."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from genifer.runtime.tracking import Tracked


class Tracker:
    """Writes to ``tensorboard/``."""

    def __init__(self, tracked: Tracked) -> None:
        threading.excepthook = _report
        folder, done = tracked.folder / "tensorboard", tracked.done
        if done == 0:
            shutil.rmtree(folder, ignore_errors=True)
        self.writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)
        rows = "".join(f"| {name} | {value} |\n" for name, value in tracked.settings.items())
        self.writer.add_text("settings", f"| setting | value |\n| --- | --- |\n{rows}", done)

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        self.writer.add_image(name, image, step)

    def close(self, finished: bool) -> None:  # noqa: ARG002
        self.writer.close()


def _report(failure: threading.ExceptHookArgs) -> None:
    """Silence errors of TensorBoard's own thread, which its next call raises again; report all others."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failure)
