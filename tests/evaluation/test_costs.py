"""Costs of jobs, from what Snakemake and the trainings have written."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from support.made_up_run import made_up_run

from genifer.errors import GeniferError
from genifer.evaluation import BUDGET_COLUMNS, COST_COLUMNS
from genifer.evaluation.costs import cost_by_job, tabulate_costs
from genifer.evaluation.tables import read_table

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
LARGE = 4_294_967_295
GAN, EVALUATION, NOTHING = (
    "genifer+gan.ada.mode=none/task_2/train_gan",
    "shared/task_0/evaluate",
    "shared/task_0/pretrain_gan",
)


@pytest.fixture
def costs(tmp_path: Path) -> pd.DataFrame:
    seed = tmp_path / "jobs" / f"seed_{LARGE}"
    data = tmp_path / "data"
    for folder in (data, seed / GAN, seed / EVALUATION):
        folder.mkdir(parents=True)
    (data / "prepare_data.benchmark.tsv").write_text(HEADER + "0.4\t0:00:00\t-\t-\t-\t-\t-\t-\t-\t-\n")
    (seed / GAN / "benchmark.tsv").write_text(HEADER + "20.5\t0:00:20\t2048.0\t-\t-\t-\t-\t-\t90\t18.25\n")
    status = {"seconds": 100.25, "device": "cuda", "machine": "A card", "gpu_memory_mb": 7000, "threads": 4}
    (seed / GAN / "status.json").write_text(json.dumps(status))
    (seed / EVALUATION / "benchmark.tsv").write_text(HEADER + "2\t0:00:02\t512\t-\t-\t-\t-\t-\t90\t1\n")
    variants = {
        "whole": {"series": "a", "gan_steps": 5, "places": [GAN, EVALUATION]},
        "without its time": {"series": "b", "gan_steps": 0, "places": [NOTHING]},
    }
    tabulate_costs(tmp_path, [LARGE], [NOTHING, GAN, EVALUATION], variants)
    return read_table(tmp_path / "costs.csv", COST_COLUMNS)


def test_costs_of_jobs(costs: pd.DataFrame) -> None:
    """The seconds of all attempts of a training count; a job of which nothing is known has no row."""
    assert list(costs.columns) == COST_COLUMNS
    assert costs["job"].tolist() == ["prepare_data", "train_gan", "evaluate"]
    assert costs["seconds"].tolist() == [0.4, 100.25, 2.0]
    assert costs["device"].tolist() == ["cpu", "cuda", "cpu"]
    assert pd.isna(costs["method"].iloc[0])
    of_gan = costs.iloc[1]
    assert (of_gan["seed"], of_gan["task"], of_gan["method"]) == (LARGE, 2, "genifer+gan.ada.mode=none")
    assert (of_gan["memory_mb"], of_gan["cpu_seconds"], of_gan["gpu_memory_mb"]) == (2048, 18.25, 7000)
    by_job = cost_by_job(costs)
    assert by_job["label"].tolist() == ["prepare_data", "train_gan, task 2", "evaluate"]
    assert by_job["memory_mb"].tolist()[1:] == [2048, 512]


@pytest.mark.usefixtures("costs")
def test_budget_of_methods(tmp_path: Path) -> None:
    budget = read_table(tmp_path / "budget.csv", BUDGET_COLUMNS)
    assert budget["method"].tolist() == ["whole", "without its time"]
    assert budget["minutes"].iloc[0] == pytest.approx(102.25 / 60, rel=1e-5)
    assert pd.isna(budget["minutes"].iloc[1])


def test_methods_that_differ_in_steps_are_one_series(tmp_path: Path) -> None:
    """Each with the time of its own trainings and of those that it shares."""
    guided = {"method": "genifer", "gan": {"guidance_weight": 1}}
    layout = made_up_run(
        tmp_path,
        methods={
            "genifer-4": {"method": "genifer", "pretrain_gan": {"steps": 4}, "train_gan": {"steps": 2}},
            "genifer-90": {"method": "genifer", "pretrain_gan": {"steps": 90}, "train_gan": {"steps": 50}},
            "guided-4": guided | {"pretrain_gan": {"steps": 4}},
            "guided-90": guided | {"pretrain_gan": {"steps": 90}},
            "finetune": {},
        },
        scenario={"tasks": [2, 1, 1]},
    )
    budget = read_table(Path(layout.table("budget")), BUDGET_COLUMNS).set_index("method")
    assert budget["series"].tolist() == ["genifer", "genifer", "guided", "guided", "finetune"]
    assert budget["gan_steps"].tolist()[:2] == [4 + 2, 90 + 50]
    assert budget.loc["finetune", ["gan_steps", "minutes"]].tolist() == [0, pytest.approx(300 / 60)]
    # The classifier's trainings of three tasks, and the GAN's of two.
    assert budget.loc["genifer-4", "minutes"] == pytest.approx((300 + 150) / 60)


def test_costs_are_summed_over_seeds(tmp_path: Path) -> None:
    layout = made_up_run(
        tmp_path,
        methods={"genifer": {}, "other": {"method": "genifer", "train_gan": {"steps": 9}}},
        scenario={"tasks": [2, 1, 1]},
        seeds=[0, 1],
    )
    costs = read_table(Path(layout.table("costs")), COST_COLUMNS)
    assert len(costs) == 2 * (7 + 5 + 3)
    by_job = cost_by_job(costs).set_index("label")
    groups = ["genifer", "genifer+train_gan.steps=9"]
    assert list(by_job.index) == [
        "pretrain_classifier, task 0",
        "pretrain_gan, task 0",
        "train_genifer, task 1 (genifer)",
        *[f"train_gan, task 1 ({group})" for group in groups],
        *[f"train_genifer, task 2 ({group})" for group in groups],
        "evaluate",
        "evaluate_replay",
    ]
    assert by_job.loc["pretrain_gan, task 0", ["jobs", "seconds"]].tolist() == [2, 100]
    assert by_job.loc["evaluate", "jobs"] == 10
    assert by_job["seconds"].sum() == costs["seconds"].sum()
    over_tasks = cost_by_job(costs, by_task=False).set_index("label")
    assert over_tasks.loc["train_genifer (genifer)", "jobs"] == 4
    assert over_tasks["seconds"].sum() == costs["seconds"].sum()


def test_a_benchmark_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "seed_0" / EVALUATION
    folder.mkdir(parents=True)
    (folder / "benchmark.tsv").write_text("")
    with pytest.raises(GeniferError, match=r"benchmark.tsv: cannot be read"):
        tabulate_costs(tmp_path, [0], [EVALUATION], {})
