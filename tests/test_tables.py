"""The metrics, on tables whose answers were worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from commands import write_run_file
from in_process import genifer

from genifer.evaluation import COLUMNS, CONFUSION_COLUMNS
from genifer.evaluation.costs import stages_of, tabulate_costs
from genifer.evaluation.tables import (
    METRICS,
    class_accuracy,
    forgetting,
    forgetting_of_classes,
    incremental_accuracy,
    read_table,
    summarize,
    summary_text,
    tabulate,
    tabulate_training,
)


def row(method: str, seed: int, after: int, on: int, n: int, correct: int, classes: int = 2) -> list[object]:
    return [method, seed, after, on, classes, n, correct, correct / n]


@pytest.fixture
def accuracy() -> pd.DataFrame:
    rows = [
        row("genifer", 0, 0, 0, 100, 90, 4),
        row("genifer", 0, 1, 0, 100, 80, 4),
        row("genifer", 0, 1, 1, 50, 40),
        row("genifer", 0, 2, 0, 100, 60, 4),
        row("genifer", 0, 2, 1, 50, 45),
        row("genifer", 0, 2, 2, 50, 45),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_incremental_accuracy_is_weighted_by_images(accuracy: pd.DataFrame) -> None:
    table = incremental_accuracy(accuracy)
    assert table["classes_seen"].tolist() == [4, 6, 8]
    assert table["accuracy"].tolist() == pytest.approx([0.9, 120 / 150, 150 / 200])


def test_forgetting_is_the_best_less_the_last(accuracy: pd.DataFrame) -> None:
    table = forgetting(accuracy).set_index("eval_task")["forgetting"]
    assert table.to_dict() == pytest.approx({0: 0.3, 1: -0.1})


def test_summary(accuracy: pd.DataFrame) -> None:
    other = accuracy.assign(seed=1, n_correct=accuracy["n_test"], accuracy=1.0)
    summary = summarize(pd.concat([accuracy, other])).iloc[0]
    assert summary["method"] == "genifer"
    assert summary["n_seeds"] == 2
    first = {
        "average_incremental_accuracy": (0.8 + 0.75) / 2,
        "average_incremental_accuracy_with_first_task": (0.9 + 0.8 + 0.75) / 3,
        "final_accuracy": 0.75,
        "forgetting": 0.1,
    }
    for name in METRICS:
        second = 0.0 if name == "forgetting" else 1.0
        assert summary[f"{name}_mean"] == pytest.approx((first[name] + second) / 2)
        assert summary[f"{name}_std"] == pytest.approx(abs(first[name] - second) / 2**0.5)


def test_one_seed_and_one_task_leave_values_empty(accuracy: pd.DataFrame) -> None:
    summary = summarize(accuracy[accuracy["after_task"] == 0]).iloc[0]
    assert summary["final_accuracy_mean"] == pytest.approx(0.9)
    assert pd.isna(summary["final_accuracy_std"])
    assert pd.isna(summary["average_incremental_accuracy_mean"])
    assert pd.isna(summary["forgetting_mean"])
    assert "90.0" in summary_text(summarize(accuracy[accuracy["after_task"] == 0]))


def test_the_shared_first_task_stands_under_every_method(tmp_path: Path) -> None:
    shared = pd.DataFrame([row("first_task", 0, 0, 0, 100, 90)], columns=COLUMNS)
    later = pd.DataFrame([row("joint", 0, 1, 0, 100, 95), row("joint", 0, 1, 1, 10, 9)], columns=COLUMNS)
    third = pd.DataFrame([row("finetune", 0, 1, 0, 100, 0), row("finetune", 0, 1, 1, 10, 9)], columns=COLUMNS)
    paths = []
    for index, table in enumerate((later, shared, third)):
        paths.append(tmp_path / str(index))
        paths[-1].mkdir()
        table.to_csv(paths[-1] / "accuracy.csv", index=False)
        method = table["method"].iloc[0]
        pd.DataFrame([[method, 0, 1, 0, 0, "007", 1, 5]], columns=CONFUSION_COLUMNS).to_csv(
            paths[-1] / "confusion.csv", index=False
        )
    tabulate(["finetune", "joint"], paths, tmp_path)
    table = pd.read_csv(tmp_path / "accuracy.csv")
    assert list(table.columns) == COLUMNS
    assert list(
        zip(table["method"], table["after_task"], table["eval_task"], table["n_correct"], strict=True)
    ) == [
        ("finetune", 0, 0, 90),
        ("finetune", 1, 0, 0),
        ("finetune", 1, 1, 9),
        ("joint", 0, 0, 90),
        ("joint", 1, 0, 95),
        ("joint", 1, 1, 9),
    ]
    confusion = read_table(tmp_path / "confusion.csv")
    assert confusion["method"].tolist() == ["finetune", "finetune", "joint", "joint"]
    assert set(confusion["class_name"]) == {"007"}
    assert pd.read_csv(tmp_path / "summary.csv")["method"].tolist() == ["finetune", "joint"]
    metrics = json.loads((tmp_path / "metrics" / "finetune.json").read_text())
    assert metrics == {
        "n_seeds": 1,
        "average_incremental_accuracy": pytest.approx(9 / 110, abs=1e-6),
        "average_incremental_accuracy_with_first_task": pytest.approx((0.9 + 9 / 110) / 2, abs=1e-6),
        "final_accuracy": pytest.approx(9 / 110, abs=1e-6),
        "forgetting": pytest.approx(0.9),
        "accuracy_after_task_0": pytest.approx(0.9),
        "accuracy_after_task_1": pytest.approx(9 / 110, abs=1e-6),
    }


def test_all_trainings_in_one_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "stage,seed,task,step,loss,r1\npretrain_gan,0,0,1,0.5,0.25\npretrain_gan,0,0,2,0.75,\n"
    )
    (tmp_path / "b.csv").write_text("stage,seed,task,step,accuracy\ntrain_joint,1,2,9,0.125\n")
    tabulate_training([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "training.csv")
    assert (tmp_path / "training.csv").read_text().splitlines() == [
        "stage,seed,task,step,scalar,value",
        "pretrain_gan,0,0,1,loss,0.5",
        "pretrain_gan,0,0,2,loss,0.75",
        "pretrain_gan,0,0,1,r1,0.25",
        "train_joint,1,2,9,accuracy,0.125",
    ]
    tabulate_training([], tmp_path / "empty.csv")
    assert pd.read_csv(tmp_path / "empty.csv").empty


def test_forgetting_class_by_class(tmp_path: Path) -> None:
    """Best before the last task, less the end; the last task's classes are left out; worst first."""
    rows = [
        ["genifer", seed, after, task, label, name, predicted, count]
        for seed in (0, 1)
        for after, task, label, name, predicted, count in [
            (0, 0, 0, "cat", 0, 8), (0, 0, 0, "cat", 1, 2), (0, 0, 1, "1e3", 1, 10),
            (1, 0, 0, "cat", 0, 9 + seed), (1, 0, 0, "cat", 2, 1 - seed), (1, 0, 1, "1e3", 1, 10),
            (1, 1, 2, "NA", 2, 10),
            (2, 0, 0, "cat", 3, 10), (2, 0, 1, "1e3", 1, 5), (2, 0, 1, "1e3", 3, 5),
            (2, 1, 2, "NA", 2, 10), (2, 2, 3, "dog", 3, 10),
        ]
    ]  # fmt: skip
    pd.DataFrame(rows, columns=CONFUSION_COLUMNS).to_csv(tmp_path / "confusion.csv", index=False)
    confusion = read_table(tmp_path / "confusion.csv")
    accuracy = class_accuracy(confusion).query("seed == 1 and after_task == 2")["accuracy"]
    assert accuracy.tolist() == [0.0, 0.5, 1.0, 1.0]
    table = forgetting_of_classes(confusion)
    assert table["class_name"].tolist() == ["cat", "1e3", "NA"]
    assert table["best"].tolist() == pytest.approx([0.95, 1.0, 1.0])
    assert table["forgetting"].tolist() == pytest.approx([0.95, 0.5, 0.0])


def test_costs_of_jobs(tmp_path: Path) -> None:
    """From Snakemake's benchmark and the stage's status; the seconds of all attempts of a training count."""
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    data, gan, evaluation, nothing = (
        tmp_path / name
        for name in (
            *["data", "stages/seed_3/genifer/task_2/train_gan"],
            *["stages/seed_3/first_task/evaluate", "stages/seed_3/first_task/pretrain_gan"],
        )
    )
    for folder in (data, gan, evaluation):
        folder.mkdir(parents=True)
    (data / "prepare_data.benchmark.tsv").write_text(header + "0.4\t0:00:00\t-\t-\t-\t-\t-\t-\t-\t-\n")
    (gan / "benchmark.tsv").write_text(header + "20.5\t0:00:20\t2048.0\t-\t-\t-\t-\t-\t90\t18.25\n")
    status = {"seconds": 100.25, "device": "cuda", "machine": "A card", "gpu_memory_mb": 7000, "threads": 4}
    (gan / "status.json").write_text(json.dumps(status))
    (evaluation / "benchmark.tsv").write_text(header + "2\t0:00:02\t512\t-\t-\t-\t-\t-\t90\t1\n")
    tabulate_costs([data, gan, evaluation, nothing], tmp_path / "costs.csv")
    costs = read_table(tmp_path / "costs.csv")
    assert costs["stage"].tolist() == ["prepare_data", "train_gan", "evaluate"]
    assert costs["seconds"].tolist() == [0.4, 100.25, 2.0]
    assert costs["device"].tolist() == ["cpu", "cuda", "cpu"]
    of_gan = costs.iloc[1]
    assert (of_gan["seed"], of_gan["task"], of_gan["method"]) == (3, 2, "genifer")
    assert (of_gan["memory_mb"], of_gan["cpu_seconds"], of_gan["gpu_memory_mb"]) == (2048, 18.25, 7000)
    stages = stages_of(costs)
    assert stages["label"].tolist() == ["prepare_data", "train_gan, task 2", "evaluate"]
    assert stages["memory_mb"].tolist()[1:] == [2048, 512]


def test_published_accuracies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Drawn beside a run's own; a file that is none is refused before anything runs."""
    path = tmp_path / "published.csv"
    for content, message in (
        ("source,method\na,b\n", "has no column classes_seen, accuracy"),
        ("source,method,classes_seen,accuracy\na,b,50,74.1\n", "line 2: accuracy is '74.1'"),
    ):
        path.write_text(content)
        run_file = write_run_file(tmp_path, plots={"published": str(path)})
        assert genifer("check", "--config", run_file) == 1
        assert message in capsys.readouterr().err
    path.write_text("source,method,classes_seen,accuracy\nA paper,genifer,4,0.5\nA paper,genifer,6,0.25\n")
    assert genifer("check", "--config", run_file) == 0
    confusion = pd.DataFrame([["genifer", 0, 0, 0, 0, "a", 0, 5]], columns=CONFUSION_COLUMNS)
    confusion.to_csv(tmp_path / "confusion.csv", index=False)
    own = pd.DataFrame([row("genifer", 0, 0, 0, 100, 90, 4)], columns=COLUMNS)
    own.to_csv(tmp_path / "accuracy.csv", index=False)
    tables = ["--accuracy", tmp_path / "accuracy.csv", "--confusion", tmp_path / "confusion.csv"]
    assert genifer("plot-accuracy", "--config", run_file, *tables, "--output", tmp_path) == 0
    assert "genifer, published (A paper)" in (tmp_path / "accuracy.svg").read_text()
