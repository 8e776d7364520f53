"""The display of runs in a terminal."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genifer.monitor.watch.progress import RunProgress, TrainingProgress
from genifer.runtime.durations import clock

COLORS = {
    "done": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "red",
    "stopped": "yellow",
    "pending": "bright_black",
}
OTHER_LINES = 6
"""Lines per run besides the rows of trainings: header, table header, folded rows, files, blank line."""
NAME_WIDTH = 36
"""Maximum number of characters of a training's name in the table."""

SCALARS = ("g_loss", "d_loss", "loss", "accuracy")
"""The scalars to show first, if a training has them."""


def line(run: RunProgress) -> str:
    """Format a run as one plain line."""
    total = len(run.trainings)
    parts = [f"{run.plan.run}: {run.state}, {run.count('done')} of {total} trainings done"]
    for progress in run.trainings:
        training = progress.training
        if progress.state == "running":
            speed = f" {progress.status['speed']:.3g} steps/s" if progress.status.get("speed") else ""
            step = f"step {progress.done}/{training.steps}" if training.steps else "computes its memory"
            step = _preparation(progress.status) or step
            parts.append(f"running {training.title} {step}{speed} {_left(progress.seconds_left)} left")
        elif progress.state == "interrupted":
            parts.append(f"interrupted {training.title} {_resumes(progress)}")
        elif progress.state == "failed":
            parts.append(f"failed {training.title}: {_message(progress)}")
    if run.state == "running":
        parts.append(f"run {_left(run.seconds_left)} left")
    return ", ".join(parts)


def view(runs: Sequence[RunProgress], gpus: Sequence[str], console: Console) -> RenderableType:
    """Lay out runs one below the other, each within its share of the terminal's height."""
    rows = max((console.height - len(gpus) - 2) // max(len(runs), 1) - OTHER_LINES, 3)
    parts: list[RenderableType] = []
    for run in runs:
        parts += [_header(run), _table(run, rows), _files(run), Text("")]
    parts += [Text(gpu, style="magenta") for gpu in gpus]
    return Group(*parts)


def _header(run: RunProgress) -> Text:
    text = Text.assemble((run.plan.run, "bold"), "  ", (run.state, f"bold {COLORS[run.state]}"))
    text.append(f"  trainings: {run.count('done')} done, {run.count('running')} running, ")
    text.append(f"{run.count('pending', 'interrupted')} pending")
    if run.count("failed"):
        text.append(f", {run.count('failed')} failed", style=COLORS["failed"])
    text.append(f"  since {clock(run.elapsed)}")
    if run.state == "running":
        text.append(f", about {_left(run.seconds_left)} left", style="bold")
    return text


def _table(run: RunProgress, rows: int) -> Table:
    table = Table(box=None, padding=(0, 1), expand=True, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("job", no_wrap=True, overflow="ellipsis", max_width=NAME_WIDTH)
    for name in ("task", "seed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", ratio=1)
    for name in ("step", "steps/s", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", ratio=3, no_wrap=True, overflow="ellipsis")
    shown, n_done, n_pending = _folded(run.trainings, rows)
    if n_done:
        table.add_row(Text(f"{n_done} done", COLORS["done"]))
    for progress in shown:
        table.add_row(*_row(progress))
    if n_pending:
        table.add_row(Text(f"{n_pending} pending", COLORS["pending"]))
    return table


def _folded(trainings: Sequence[TrainingProgress], rows: int) -> tuple[list[TrainingProgress], int, int]:
    """Return the trainings to show, and how many done and pending ones are only counted."""
    done = [progress for progress in trainings if progress.state == "done"]
    pending = [progress for progress in trainings if progress.state == "pending"]
    room = max(rows - (len(trainings) - len(done) - len(pending)), 0)
    n_done = min(len(done), max(room // 2, room - len(pending)))
    n_pending = min(len(pending), room - n_done)
    kept = {progress.training.folder for progress in done[len(done) - n_done :] + pending[:n_pending]}
    folded = {progress.training.folder for progress in done + pending} - kept
    shown = [progress for progress in trainings if progress.training.folder not in folded]
    return shown, len(done) - n_done, len(pending) - n_pending


def _row(progress: TrainingProgress) -> list[RenderableType]:
    training, status, color = progress.training, progress.status, COLORS[progress.state]
    cells: list[RenderableType] = [
        Text(progress.state, color),
        Text(training.name),
        str(training.task),
        str(training.seed),
    ]
    speed, left, note = "", "", ""
    match progress.state:
        case "done":
            if status.get("seconds"):
                left = f"in {clock(status['seconds'])}"
        case "running":
            speed = f"{status['speed']:.3g}" if status.get("speed") else ""
            left = _left(progress.seconds_left)
            note = _preparation(status) or _scalars(status)
        case "failed":
            note = _message(progress)
        case "interrupted":
            note = _resumes(progress)
    bar = ProgressBar(training.steps, progress.done, complete_style=color, finished_style=color)
    step = f"{progress.done:,}/{training.steps:,}" if training.steps else "memory"
    return [*cells, bar, step, speed, left, Text(note)]


def _message(progress: TrainingProgress) -> str:
    """Return why a training failed, without the job's title, which another column shows."""
    message = str(progress.status.get("message") or "")
    return message.partition("] ")[2] or message


def _resumes(progress: TrainingProgress) -> str:
    return f"resumes after step {progress.resumes_after:,}" if progress.resumes_after else "starts over"


def _preparation(status: Mapping[str, Any]) -> str:
    """Return the steps of a preparation in progress; empty without one."""
    steps = status.get("preparation")
    return "preparation {:,}/{:,}".format(*steps) if steps else ""


def _scalars(status: Mapping[str, Any]) -> str:
    scalars = status.get("scalars") or {}
    first = [name for name in SCALARS if name in scalars]
    others = [name for name in scalars if name not in first]
    shown = ", ".join(f"{name} {scalars[name]:.3g}" for name in (first + others)[:4])
    memory = status.get("gpu_memory_mb")
    return shown + (f", {memory / 1024:.1f} GB of the GPU" if memory else "")


def _files(run: RunProgress) -> Text:
    kinds = (f"{kind} {existing} of {total}" for kind, (existing, total) in run.files.items())
    return Text("files: " + ", ".join(kinds), style="bright_black")


def _left(seconds: float | None) -> str:
    return "?" if seconds is None else clock(seconds)


def gpus() -> list[str]:
    """Return one line per GPU of this machine, from nvidia-smi; none if it is missing or fails."""
    fields = "index,name,utilization.gpu,memory.used,memory.total"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = []
    for row in answer.stdout.strip().splitlines():
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) == len(fields.split(",")):
            index, name, use, used, total = cells
            lines.append(f"GPU {index}  {name}  {use} % busy, {used} of {total} MiB")
    return lines
