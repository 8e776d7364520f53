"""Costs of jobs, from what the jobs have written; of jobs of earlier versions, from what Snakemake has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from support.in_process import genifer
from support.made_up_run import made_up_run

from genifer.errors import GeniferError
from genifer.evaluation import BUDGET_COLUMNS, COST_COLUMNS
from genifer.evaluation.costs import cost_by_job, tabulate_costs
from genifer.evaluation.tables import read_table
from genifer.layout import Layout

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
    recorded = {
        "seconds": 0.4,
        "cpu_seconds": 0.3,
        "memory_mb": 100.0,
        "updated": "2026-11-01T00:00:00+00:00",
    }
    (data / "status.json").write_text(json.dumps(recorded))
    (data / "prepare_data.benchmark.tsv").write_text(HEADER + "9\t0:00:09\t999\t-\t-\t-\t-\t-\t-\t5\n")
    (seed / GAN / "benchmark.tsv").write_text(HEADER + "20.5\t0:00:20\t2048.0\t-\t-\t-\t-\t-\t90\t18.25\n")
    status = {"seconds": 100.25, "device": "cuda", "machine": "A card", "gpu_memory_mb": 7000, "threads": 4}
    (seed / GAN / "status.json").write_text(json.dumps(status))
    (seed / EVALUATION / "benchmark.tsv").write_text(HEADER + "2\t0:00:02\t512\t-\t-\t-\t-\t-\t90\t1\n")
    files = {"classifier": "classifier.safetensors", "unused": None, "kept": ["classifier.safetensors"]}
    variants = {
        "whole": {"series": "a", "gan_steps": 5, "places": [GAN, EVALUATION], "images": [], **files},
        "without its time": {"series": "b", "gan_steps": 0, "places": [NOTHING], "images": [], **files},
    }
    tabulate_costs(tmp_path, [LARGE], {"data": None}, [NOTHING, GAN, EVALUATION], variants)
    return read_table(tmp_path / "costs.csv", COST_COLUMNS)


def test_costs_of_jobs(costs: pd.DataFrame) -> None:
    """What the job has recorded counts; else Snakemake's figures, without its CPU time; else there is no row."""
    assert list(costs.columns) == ["run", *COST_COLUMNS]
    assert costs["job"].tolist() == ["prepare_data", "train_gan", "evaluate"]
    assert costs["seconds"].tolist() == [0.4, 100.25, 2.0]
    assert costs["device"].tolist() == ["cpu", "cuda", "cpu"]
    of_data = costs.iloc[0]
    assert (of_data["cpu_seconds"], of_data["memory_mb"]) == (0.3, 100)
    assert of_data["ended"] == "2026-11-01T00:00:00+00:00"
    assert of_data[["group", "seed", "task"]].isna().all()
    of_gan = costs.iloc[1]
    assert (of_gan["seed"], of_gan["task"], of_gan["group"]) == (LARGE, 2, "genifer+gan.ada.mode=none")
    assert (of_gan["memory_mb"], of_gan["gpu_memory_mb"]) == (2048, 7000)
    assert costs["cpu_seconds"].isna().tolist() == [False, True, True]
    by_job = cost_by_job(costs)
    assert by_job["label"].tolist() == ["prepare_data", "train_gan, task 2", "evaluate"]
    assert by_job["memory_mb"].tolist()[1:] == [2048, 512]


@pytest.mark.usefixtures("costs")
def test_budget_of_methods(tmp_path: Path) -> None:
    budget = read_table(tmp_path / "budget.csv", BUDGET_COLUMNS)
    assert budget["method"].tolist() == ["whole", "without its time"]
    assert budget["minutes"].iloc[0] == pytest.approx(102.25 / 60, rel=1e-5)
    assert pd.isna(budget["minutes"].iloc[1])
    assert budget[["parameters", "stored_mb"]].isna().all(axis=None)


def write_tensors(path: str, **tensors: tuple[type, int]) -> None:
    """Write a file of tensors, each given by its type and the number of its elements."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(count, kind) for name, (kind, count) in tensors.items()}, path)


def tabulate(layout: Layout) -> int:
    """Make costs.csv and budget.csv anew, as the workflow does."""
    settings = layout.settings_json("tabulate_costs")
    return genifer("tabulate", "costs", "--settings", settings, "--results", layout.results)


def test_sizes_of_methods(tmp_path: Path) -> None:
    """Whole numbers classify nothing, and nor does a memory that only later trainings need; the GAN is the last."""
    layout = made_up_run(
        tmp_path,
        methods=["genifer", "ewc", "acil", "exemplars", "joint"],
        scenario={"tasks": [2, 1, 1]},
        seeds=[0, 7],
    )
    for path in layout.data("train", layout.tasks, 0):
        write_tensors(path, images=(np.uint8, 2**20), labels=(np.int64, 2**17))
    for job in layout.trainings:
        tensors: dict[str, tuple[type, int]] = {"weight": (np.float32, 2**18), "batches": (np.int64, 1)}
        if "gan" in job.name:
            tensors = {"generator.weight": (np.float32, 2**19 * (job.task + 1))}
        elif job.group == "ewc":
            tensors["memory.importance"] = (np.float32, 2**18)
        elif job.group == "acil":
            tensors["memory.main.weights"] = (np.float64, 1000)
            tensors["memory.main.autocorrelation"] = (np.float64, 2**17)
        elif job.group == "exemplars":
            tensors |= {"memory.images": (np.uint8, 2**20), "memory.means": (np.float16, 10)}
        write_tensors(job.checkpoint, **tensors)
    assert tabulate(layout) == 0
    budget = read_table(Path(layout.table("budget")), BUDGET_COLUMNS)
    assert budget["seed"].tolist() == [0, 7] * 5
    budget = budget[budget["seed"] == 7].set_index("method")
    assert budget["parameters"].to_dict() == {
        "genifer": 2**18,
        "ewc": 2**18,
        "acil": 2**18 + 1000,
        "exemplars": 2**18 + 10,
        "joint": 2**18,
    }
    # Of float32, 2**18 numbers are 2**20 bytes; the GAN after task 1 has four times as many.
    sizes = {"genifer": 5, "ewc": 2, "acil": 2, "exemplars": 2, "joint": 5}
    megabytes = {method: size * 2**20 / 1e6 for method, size in sizes.items()}
    assert budget["stored_mb"].to_dict() == pytest.approx(megabytes, abs=0.01)


def test_a_checkpoint_that_cannot_be_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    layout = made_up_run(tmp_path, methods=["finetune"], scenario={"tasks": [2, 1]})
    checkpoint = Path(layout.trainings[-1].checkpoint)
    checkpoint.write_bytes(b"half")
    assert tabulate(layout) == 1
    message = capfd.readouterr().err
    assert f"{checkpoint}: is not a readable file" in message
    assert "run snakemake again" in message


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


def test_data_of_each_seed(tmp_path: Path) -> None:
    """Where each seed has a class order of its own, each has prepared data of its own, and a row."""
    layout = made_up_run(tmp_path, scenario={"tasks": [2, 1], "class_order": "seed"}, seeds=[3, 5])
    for seed in (3, 5):
        folder = Path(layout.data_folder(seed))
        folder.mkdir(parents=True)
        (folder / "status.json").write_text(json.dumps({"seconds": seed, "cpu_seconds": 1}))
    assert tabulate(layout) == 0
    costs = read_table(Path(layout.table("costs")), COST_COLUMNS)
    of_data = costs[costs["job"] == "prepare_data"]
    assert of_data["seed"].tolist() == of_data["seconds"].tolist() == [3, 5]


def test_a_benchmark_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "seed_0" / EVALUATION
    folder.mkdir(parents=True)
    (folder / "benchmark.tsv").write_text("")
    with pytest.raises(GeniferError, match=r"benchmark.tsv: cannot be read"):
        tabulate_costs(tmp_path, [0], {}, [EVALUATION], {})
