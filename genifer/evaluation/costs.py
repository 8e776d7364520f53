"""What each job of a run cost: time and memory, and on which machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from genifer.runtime.files import whole_file
from genifer.runtime.status import STATUS, read_status

COST_COLUMNS = [
    "stage",
    "method",
    "seed",
    "task",
    "seconds",
    "cpu_seconds",
    "memory_mb",
    "gpu_memory_mb",
    "device",
    "machine",
    "precision",
    "threads",
    "genifer",
    "torch",
    "python",
]
"""Of costs.csv, a row a job: seconds of wall time and of the CPU; peak memory."""

FROM_STATUS = ["gpu_memory_mb", "device", "machine", "precision", "threads", "genifer", "torch", "python"]


def tabulate_costs(folders: Iterable[Path], output: Path) -> None:
    """Collect what Snakemake's ``benchmark.tsv`` and a stage's ``status.json`` say of each job.

    Files that are not there leave their columns empty; a job of which nothing is known has no row. Of a
    training that was interrupted the seconds of all attempts count.

    Args:
        folders: of the jobs: ``seed_<s>/first_task/<stage>`` or ``seed_<s>/<method>/task_<t>/<stage>``; any
            other is that of the prepared data.
    """
    rows = [row for folder in folders if (row := _row(folder)) is not None]
    table = pd.DataFrame(rows, columns=COST_COLUMNS)
    with whole_file(output) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def _row(folder: Path) -> dict[str, Any] | None:
    benchmark, status = _benchmark(folder), read_status(folder / STATUS)
    if not benchmark and not status:
        return None
    row: dict[str, Any] = _place(folder) | {name: status.get(name) for name in FROM_STATUS}
    row["device"] = row["device"] or "cpu"
    attempts = float(status.get("seconds") or 0)
    row["seconds"] = max(float(benchmark.get("s", 0)), attempts)
    row["cpu_seconds"], row["memory_mb"] = benchmark.get("cpu_time"), benchmark.get("max_rss")
    return row


def _place(folder: Path) -> dict[str, Any]:
    """Stage, method, seed and task by the name of a job's folder."""
    parts = folder.parts
    seeds = [index for index, part in enumerate(parts) if part.startswith("seed_")]
    if not seeds:
        return {"stage": "prepare_data", "method": None, "seed": None, "task": None}
    method, *rest = parts[seeds[-1] + 1 :]
    task = int(rest[0].removeprefix("task_")) if len(rest) > 1 else None
    return {
        "stage": rest[-1],
        "method": method,
        "seed": int(parts[seeds[-1]].removeprefix("seed_")),
        "task": task,
    }


def _benchmark(folder: Path) -> dict[str, Any]:
    paths = [*folder.glob("benchmark.tsv"), *folder.glob("*.benchmark.tsv")]
    if not paths:
        return {}
    # Of a job that ended before Snakemake looked at it, there are times and no more.
    row = pd.read_csv(paths[0], sep="\t", na_values="-").iloc[0].dropna()
    return dict(row)


def stages_of(costs: pd.DataFrame) -> pd.DataFrame:
    """The trainings by stage and task, added up over the seeds, and the other jobs by stage.

    Returns:
        Columns label, device, jobs, seconds, memory_mb (the most of any job): the data, the trainings in the
        order of their tasks, the evaluations.
    """
    trains = costs["stage"].str.contains("train")
    tasks = costs["task"].map("task {:.0f}".format, na_action="ignore").fillna("first task")
    label = costs["stage"].where(~trains, costs["stage"] + ", " + tasks)
    order = costs["task"].fillna(0).where(trains, float("inf")).mask(costs["stage"] == "prepare_data", -1)
    in_order = costs.assign(label=label, order=order).sort_values("order", kind="stable")
    table = in_order.groupby("label", sort=False).agg(
        device=("device", "first"),
        jobs=("stage", "size"),
        seconds=("seconds", "sum"),
        memory_mb=("memory_mb", "max"),
    )
    return table.reset_index()


def span(seconds: float) -> str:
    """A span of time for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
