"""Time, memory and machine of each job of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from genifer.errors import GeniferError
from genifer.evaluation import BUDGET_COLUMNS, COST_COLUMNS
from genifer.evaluation.sizes import parameters, stored_mb
from genifer.evaluation.tables import parse_place, write_table_of_run
from genifer.layout import BENCHMARK, seed_folder
from genifer.runtime.status import STATUS, read_status
from genifer.runtime.usage import Usage

FROM_STATUS = ("gpu_memory_mb", "device", "machine", "precision", "threads", "genifer", "torch", "python")

PREPARE_DATA = "prepare_data"


def tabulate_costs(
    results: Path,
    seeds: Sequence[int],
    data: Mapping[str, int | None],
    places: Sequence[str],
    variants: Mapping[str, Mapping[str, Any]],
) -> None:
    """Collect the ``status.json`` of each job into costs.csv, and write the training times and file sizes of
    each method to budget.csv.

    If a training was interrupted, all attempts count. Jobs of earlier versions recorded no CPU time; their
    wall time and memory come from Snakemake's ``benchmark.tsv``. Its CPU time is not used, because Snakemake
    samples it every 30 seconds only. A job without any record gets no row.

    Args:
        results: the run's folder.
        data: folders of prepared data, relative to ``results``, and the seed of each; None: for all seeds.
        places: folders of trainings and evaluations, relative to a seed's: ``<group>/task_<t>/<job>``.
        variants: for each label the ``places`` of its trainings, its ``series`` and its ``gan_steps``;
            relative to a seed's folder its last ``classifier``, with ``unused`` as in `parameters`, and the
            files ``kept`` before the last task; relative to ``results`` the ``images`` that it stores.
    """
    rows = [
        _row(results / folder, f"{PREPARE_DATA}.{BENCHMARK}", {"job": PREPARE_DATA, "seed": seed})
        for folder, seed in data.items()
    ]
    for seed in seeds:
        for place in places:
            group, task, job = parse_place(place)
            folder = Path(seed_folder(results, seed), place)
            about = {"job": job, "group": group, "seed": seed, "task": task}
            rows.append(_row(folder, BENCHMARK, about))
    table = pd.DataFrame([row for row in rows if row is not None], columns=COST_COLUMNS)
    # Data have no task and may have no seed. Nullable integers, because floats write seeds as 4.29497e+09.
    table = table.astype({"seed": "Int64", "task": "Int64"})
    write_table_of_run(table, results, "costs", "%.6g")
    write_table_of_run(budgets(results, table, seeds, variants), results, "budget", "%.6g")


def budgets(
    results: Path, costs: pd.DataFrame, seeds: Sequence[int], variants: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Sum the training times of each variant and measure its files.

    Args:
        variants: as in `tabulate_costs`.

    Returns:
        `BUDGET_COLUMNS`; minutes are missing if a training recorded no time, sizes if a file is missing.
    """
    seconds = costs.set_index(["group", "seed", "task", "job"])["seconds"]
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


def _row(folder: Path, benchmark: str, about: Mapping[str, Any]) -> dict[str, Any] | None:
    status = read_status(folder / STATUS)
    row: dict[str, Any] = {**about, **{name: status.get(name) for name in FROM_STATUS}}
    row |= {"device": row["device"] or "cpu", "ended": status.get("updated")}
    used = Usage.of_status(status)
    if used.cpu_seconds:
        return row | used.rounded()
    measured = _benchmark(folder / benchmark)
    if not measured and not status:
        return None
    seconds = max(float(measured.get("s", 0)), used.seconds)
    return row | {"seconds": seconds, "memory_mb": measured.get("max_rss")}


def _benchmark(path: Path) -> dict[str, Any]:
    """Read Snakemake's measurements; for jobs shorter than its sampling interval they are only times."""
    if not path.is_file():
        return {}
    try:
        return dict(pd.read_csv(path, sep="\t", na_values="-").iloc[0].dropna())
    except (OSError, ValueError, IndexError) as error:
        raise GeniferError(
            f"{path}: cannot be read ({error}); delete it and run the command again"
        ) from error


def cost_by_job(costs: pd.DataFrame, by_task: bool = True) -> pd.DataFrame:
    """Sum the costs over the seeds; those of evaluations also over tasks and methods.

    Args:
        costs: as in costs.csv.
        by_task: give each task's trainings a row of their own; otherwise sum over the tasks.

    Returns:
        Columns label, device, jobs, seconds, memory_mb (maximum over the jobs). Rows: the data, the trainings
        in the order of their tasks, the evaluations. A training's label includes its group only if several
        groups have trainings of that name.
    """
    trains = costs["job"].str.contains("train")
    label = costs["job"].copy()
    if by_task:
        label = label.where(~trains, label + ", task " + costs["task"].map("{:.0f}".format))
    groups = costs[trains].groupby("job")["group"].nunique()
    ambiguous = costs["job"].map(groups).gt(1)
    label = label.where(~(trains & ambiguous), label + " (" + costs["group"].fillna("") + ")")
    order = costs["task"].where(trains, float("inf")).mask(costs["job"] == PREPARE_DATA, -1)
    in_order = costs.assign(label=label, order=order).sort_values("order", kind="stable")
    table = in_order.groupby("label", sort=False).agg(
        device=("device", "first"),
        jobs=("job", "size"),
        seconds=("seconds", "sum"),
        memory_mb=("memory_mb", "max"),
    )
    return table.reset_index()
