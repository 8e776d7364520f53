"""Progress of a long loop: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    def __init__(self, title: str, steps: int) -> None:
        self.title = title
        self.steps = steps
        self.console = Console(stderr=True)
        self.bar: RichProgress | None = None
        if self.console.is_terminal:
            self.bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
        self.text = ""
        self.shown_at = 0.0
        self.began = 0.0
        self.done_before = 0

    def start(self, done: int = 0) -> None:
        """Begin, after steps that were done before."""
        self.done_before = done
        self.began = self.shown_at = time.monotonic()
        if self.bar is not None:
            self.task = self.bar.add_task(self.title, total=self.steps, completed=done, speed="")
            self.bar.start()
        else:
            self._line(f"{self.steps:,} steps")

    def update(self, done: int, scalars: Mapping[str, float] | None) -> None:
        """Report steps done; a line shows the ``scalars`` that were given last."""
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
        if self.bar is not None:
            self.bar.stop()

    def _line(self, text: str) -> None:
        # Where the log's pipe has gone, rich wants to exit; the training goes on without the line.
        with contextlib.suppress(BrokenPipeError, SystemExit):
            self.console.print(f"[{self.title}] {text}", markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def duration(hours: float) -> str:
    """A span of time for people: minutes, hours or days."""
    if hours < 1:
        return f"{max(60 * hours, 1):.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"
