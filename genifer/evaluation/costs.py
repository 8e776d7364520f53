"""What each job of a run cost: time and memory, and on which machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from genifer.errors import GeniferError
from genifer.evaluation import BUDGET_COLUMNS, COST_COLUMNS
from genifer.evaluation.sizes import parameters, stored_mb
from genifer.evaluation.tables import parse_place, write_table
from genifer.layout import BENCHMARK, seed_folder, table_path
from genifer.runtime.status import STATUS, read_status

FROM_STATUS = ("gpu_memory_mb", "device", "machine", "precision", "threads", "genifer", "torch", "python")

PREPARE_DATA = "prepare_data"


def tabulate_costs(
    results: Path, seeds: Sequence[int], places: Sequence[str], variants: Mapping[str, Mapping[str, Any]]
) -> None:
    """Collect Snakemake's ``benchmark.tsv`` and the ``status.json`` of each job into costs.csv, and write the
    times of each method's trainings and the sizes of its files to budget.csv.

    A missing file leaves its columns empty; a job that has neither gets no row. If a training was
    interrupted, the seconds of all its attempts count.

    Args:
        results: the run's folder.
        places: folders of the trainings and evaluations below a seed's, ``<group>/task_<t>/<job>``.
        variants: of each label the ``places`` of its trainings, its ``series`` and its ``gan_steps``; below a
            seed's folder the last ``classifier``, with ``unused`` for `parameters`, and the files that it
            has ``kept`` before the last task; below the run's folder the ``images`` that it has kept.
    """
    data = results / "data"
    rows = [_row(data, next(data.glob("*benchmark.tsv"), data / BENCHMARK), {"job": PREPARE_DATA})]
    for seed in seeds:
        for place in places:
            group, task, job = parse_place(place)
            folder = Path(seed_folder(results, seed), place)
            about = {"job": job, "method": group, "seed": seed, "task": task}
            rows.append(_row(folder, folder / BENCHMARK, about))
    table = pd.DataFrame([row for row in rows if row is not None], columns=COST_COLUMNS)
    # The data belong to no seed and task; floats would write large seeds as 4.29497e+09.
    table = table.astype({"seed": "Int64", "task": "Int64"})
    write_table(table, Path(table_path(results, "costs")), "%.6g")
    budget = budgets(results, table, seeds, variants)
    write_table(budget, Path(table_path(results, "budget")), "%.6g")


def budgets(
    results: Path, costs: pd.DataFrame, seeds: Sequence[int], variants: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Sum the times of each variant's trainings, and measure its files, as `tabulate_costs` describes them.

    Returns:
        `BUDGET_COLUMNS`; minutes are missing where a training has left no time, sizes where there is no file.
    """
    seconds = costs.set_index(["method", "seed", "task", "job"])["seconds"]
    rows = []
    for label, variant in variants.items():
        for seed in seeds:
            keys = [(group, seed, task, job) for group, task, job in map(parse_place, variant["places"])]
            minutes = seconds.reindex(keys).sum(skipna=False) / 60
            folder = Path(seed_folder(results, seed))
            sizes = (
                parameters(folder / variant["classifier"], variant["unused"]),
                stored_mb(
                    [*(folder / file for file in variant["kept"]), *map(results.joinpath, variant["images"])]
                ),
            )
            rows.append([label, variant["series"], seed, variant["gan_steps"], minutes, *sizes])
    return pd.DataFrame(rows, columns=BUDGET_COLUMNS).astype({"parameters": "Int64"})


def _row(folder: Path, benchmark_path: Path, about: Mapping[str, Any]) -> dict[str, Any] | None:
    benchmark, status = _benchmark(benchmark_path), read_status(folder / STATUS)
    if not benchmark and not status:
        return None
    row: dict[str, Any] = {**about, **{name: status.get(name) for name in FROM_STATUS}}
    row["device"] = row["device"] or "cpu"
    attempts = float(status.get("seconds") or 0)
    row["seconds"] = max(float(benchmark.get("s", 0)), attempts)
    row["cpu_seconds"], row["memory_mb"] = benchmark.get("cpu_time"), benchmark.get("max_rss")
    return row


def _benchmark(path: Path) -> dict[str, Any]:
    """What Snakemake measured; for jobs that ended before it looked, only times."""
    if not path.is_file():
        return {}
    try:
        return dict(pd.read_csv(path, sep="\t", na_values="-").iloc[0].dropna())
    except (OSError, ValueError, IndexError) as error:
        raise GeniferError(
            f"{path}: cannot be read ({error}); delete it and run the command again"
        ) from error


def cost_by_job(costs: pd.DataFrame, by_task: bool = True) -> pd.DataFrame:
    """Sum the costs over the seeds, and those of evaluations over tasks and methods.

    Args:
        costs: as costs.csv has them.
        by_task: give each task's trainings a row of their own; otherwise sum over the tasks.

    Returns:
        Columns label, device, jobs, seconds, memory_mb (maximum over the jobs): the data, the trainings in
        the order of their tasks, the evaluations. The group of a training is in its label only where
        several groups have trainings of that name.
    """
    trains = costs["job"].str.contains("train")
    label = costs["job"].copy()
    if by_task:
        label = label.where(~trains, label + ", task " + costs["task"].map("{:.0f}".format))
    groups = costs[trains].groupby("job")["method"].nunique()
    ambiguous = costs["job"].map(groups).gt(1)
    label = label.where(~(trains & ambiguous), label + " (" + costs["method"].fillna("") + ")")
    order = costs["task"].where(trains, float("inf")).mask(costs["job"] == PREPARE_DATA, -1)
    in_order = costs.assign(label=label, order=order).sort_values("order", kind="stable")
    table = in_order.groupby("label", sort=False).agg(
        device=("device", "first"),
        jobs=("job", "size"),
        seconds=("seconds", "sum"),
        memory_mb=("memory_mb", "max"),
    )
    return table.reset_index()
