"""Progress of a long loop: a bar on a terminal, or a line every few seconds in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from genifer.runtime.durations import clock
from genifer.runtime.logs import logs_to_file

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Shows the progress of a loop. A bar is shown only if nothing else writes to the terminal."""

    def __init__(self, title: str, steps: int) -> None:
        self.title = title
        self.steps = steps
        self.bar: RichProgress | None = None
        console = Console(stderr=True)
        if console.is_terminal and not logs_to_file():
            self.bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
                console=console,
            )
        self.text = ""
        self.shown_at = 0.0
        self.began = 0.0
        self.done_before = 0

    def start(self, done: int = 0) -> None:
        """Start the display, after ``done`` steps of an earlier attempt."""
        self.done_before = done
        self.began = self.shown_at = time.monotonic()
        if self.bar is not None:
            self.task = self.bar.add_task(self.title, total=self.steps, completed=done, speed="")
            self.bar.start()
        else:
            self._line(f"{self.steps:,} steps")

    def update(self, done: int, scalars: Mapping[str, float] | None) -> None:
        """Report the number of steps done; lines show the latest ``scalars``."""
        if scalars is not None:
            self.text = " ".join(f"{name} {value:.3g}" for name, value in scalars.items())
        now = time.monotonic()
        speed = (done - self.done_before) / max(now - self.began, 1e-9)
        if self.bar is not None:
            self.bar.update(self.task, completed=done, speed=f"{speed:.1f} steps/s")
        elif now - self.shown_at >= SECONDS_BETWEEN_LINES or done == self.steps:
            self.shown_at = now
            left = clock((self.steps - done) / speed)
            self._line(f"step {done:,}/{self.steps:,}, {speed:.1f} steps/s, {left} left, {self.text}")

    def stop(self) -> None:
        """Remove the bar from the terminal."""
        if self.bar is not None:
            self.bar.stop()

    def _line(self, text: str) -> None:
        log.info("[%s] %s", self.title, text)
