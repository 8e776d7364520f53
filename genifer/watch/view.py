"""How runs look in a terminal."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genifer.runtime.progress import clock
from genifer.watch.progress import RunSeen, Seen

COLORS = {
    "done": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "red",
    "stopped": "yellow",
    "to come": "bright_black",
}
LINES_OF_A_RUN = 6
"""Of header, table's head, folded rows and files."""

SCALARS = ("g_loss", "d_loss", "loss", "accuracy")
"""That are shown first, where a stage has them."""


def line(run: RunSeen) -> str:
    """A run in one plain line."""
    total = len(run.trainings)
    parts = [f"{run.plan.run}: {run.state}, {run.count('done')} of {total} trainings done"]
    for seen in run.trainings:
        if seen.state == "running":
            speed = f" {seen.status['speed']:.3g} steps/s" if seen.status.get("speed") else ""
            parts.append(
                f"running {seen.training.title} step {seen.done}/{seen.training.steps}{speed} "
                f"{_left(seen.seconds_left)} left"
            )
        elif seen.state == "interrupted":
            parts.append(f"interrupted {seen.training.title} goes on from step {seen.goes_on_from}")
        elif seen.state == "failed":
            parts.append(f"failed {seen.training.title}: {_message(seen)}")
    if run.state == "running":
        parts.append(f"run {_left(run.seconds_left)} left")
    return ", ".join(parts)


def view(runs: Sequence[RunSeen], gpus: Sequence[str], console: Console) -> RenderableType:
    """Runs under each other, each within its share of the terminal's height."""
    rows = max((console.height - len(gpus) - 2) // max(len(runs), 1) - LINES_OF_A_RUN, 3)
    parts: list[RenderableType] = []
    for run in runs:
        parts += [_header(run), _table(run, rows), _files(run), Text("")]
    parts += [Text(gpu, style="magenta") for gpu in gpus]
    return Group(*parts)


def _header(run: RunSeen) -> Text:
    text = Text.assemble((run.plan.run, "bold"), "  ", (run.state, f"bold {COLORS[run.state]}"))
    text.append(f"  trainings: {run.count('done')} done, {run.count('running')} running, ")
    text.append(f"{run.count('to come', 'interrupted')} to come")
    if run.count("failed"):
        text.append(f", {run.count('failed')} failed", style=COLORS["failed"])
    text.append(f"  since {clock(run.elapsed)}")
    if run.state == "running":
        text.append(f", about {_left(run.seconds_left)} left", style="bold")
    return text


def _table(run: RunSeen, rows: int) -> Table:
    table = Table(box=None, padding=(0, 1), expand=True, header_style="bold")
    for name, justify in (("", "left"), ("stage", "left"), ("task", "right"), ("seed", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("", ratio=1)
    for name in ("step", "steps/s", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", ratio=3, no_wrap=True, overflow="ellipsis")
    shown, n_done, n_to_come = _folded(run.trainings, rows)
    if n_done:
        table.add_row(Text(f"{n_done} done", COLORS["done"]))
    for seen in shown:
        table.add_row(*_row(seen))
    if n_to_come:
        table.add_row(Text(f"{n_to_come} to come", COLORS["to come"]))
    return table


def _folded(trainings: Sequence[Seen], rows: int) -> tuple[list[Seen], int, int]:
    """The trainings to show, and how many done ones and ones to come are only counted."""
    done = [seen for seen in trainings if seen.state == "done"]
    to_come = [seen for seen in trainings if seen.state == "to come"]
    room = max(rows - (len(trainings) - len(done) - len(to_come)), 0)
    n_done = min(len(done), max(room // 2, room - len(to_come)))
    n_to_come = min(len(to_come), room - n_done)
    kept = {seen.training.folder for seen in done[len(done) - n_done :] + to_come[:n_to_come]}
    folded = {seen.training.folder for seen in done + to_come} - kept
    shown = [seen for seen in trainings if seen.training.folder not in folded]
    return shown, len(done) - n_done, len(to_come) - n_to_come


def _row(seen: Seen) -> list[RenderableType]:
    training, status, color = seen.training, seen.status, COLORS[seen.state]
    cells: list[RenderableType] = [
        Text(seen.state, color),
        training.stage,
        str(training.task),
        str(training.seed),
    ]
    speed, left, note = "", "", ""
    if seen.state == "done":
        if status.get("seconds"):
            left = f"in {clock(status['seconds'])}"
    elif seen.state == "running":
        speed = f"{status['speed']:.3g}" if status.get("speed") else ""
        left = _left(seen.seconds_left)
        note = _scalars(status)
    elif seen.state == "failed":
        note = _message(seen)
    elif seen.state == "interrupted":
        note = f"goes on from step {seen.goes_on_from:,}" if seen.goes_on_from else "begins anew"
    bar = ProgressBar(training.steps, seen.done, complete_style=color, finished_style=color)
    return [*cells, bar, f"{seen.done:,}/{training.steps:,}", speed, left, Text(note)]


def _message(seen: Seen) -> str:
    """Why it failed, without the stage's title, which stands before it anyway."""
    message = str(seen.status.get("message") or "")
    return message.partition("] ")[2] or message


def _scalars(status: Any) -> str:
    scalars = status.get("scalars") or {}
    first = [name for name in SCALARS if name in scalars]
    others = [name for name in scalars if name not in first]
    shown = ", ".join(f"{name} {scalars[name]:.3g}" for name in (first + others)[:4])
    memory = status.get("gpu_memory_mb")
    return shown + (f", {memory / 1024:.1f} GB of the GPU" if memory else "")


def _files(run: RunSeen) -> Text:
    kinds = (f"{kind} {there} of {total}" for kind, (there, total) in run.files.items())
    return Text("files: " + ", ".join(kinds), style="bright_black")


def _left(seconds: float | None) -> str:
    return "?" if seconds is None else clock(seconds)


def gpus() -> list[str]:
    """A line a GPU of this machine, by nvidia-smi; none where there is none."""
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
