"""The metrics, on tables whose answers were worked out by hand, and the tables of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.made_up_run import made_up_run

from genifer.errors import GeniferError
from genifer.evaluation import (
    COLUMNS,
    CONFUSION_COLUMNS,
    METRICS,
    REPLAY_COLUMNS,
    SETTINGS_COLUMNS,
    SUMMARY_COLUMNS,
    TRAINING_COLUMNS,
)
from genifer.evaluation.tables import (
    backward_transfer,
    class_accuracy,
    forgetting,
    forgetting_of_classes,
    has_one_order,
    incremental_accuracy,
    intransigence,
    read_table,
    summarize,
    summary_text,
    tabulate,
    tabulate_replay,
    tabulate_training,
    with_common_labels,
    with_deviation,
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


def test_backward_transfer_is_the_last_less_the_first(accuracy: pd.DataFrame) -> None:
    """A task that was learned before the run has no first accuracy."""
    table = backward_transfer(accuracy).set_index("eval_task")["backward_transfer"]
    assert table.to_dict() == pytest.approx({0: 0.6 - 0.9, 1: 0.9 - 0.8})
    started = backward_transfer(accuracy[accuracy["after_task"] > 0])
    assert started["eval_task"].tolist() == [1]


def test_intransigence_is_what_the_joint_bound_learns_better(accuracy: pd.DataFrame) -> None:
    """Of each later task right after learning it, in the same seed; the first bound counts."""
    bound = accuracy.assign(method="all", accuracy=[0.9, 0.8, 0.95, 0.6, 0.9, 0.7])
    other = accuracy.assign(method="more", accuracy=0.0)
    alone = accuracy.assign(seed=1)
    table = pd.concat([accuracy, alone, bound, other])
    old_images = {"genifer": "none", "all": "all", "more": "all"}
    found = intransigence(table, old_images).set_index(["method", "seed", "eval_task"])["intransigence"]
    assert found["genifer"].to_dict() == pytest.approx({(0, 1): 0.95 - 0.8, (0, 2): 0.7 - 0.9})
    assert found["all"].to_dict() == {(0, 1): 0, (0, 2): 0}
    summary = summarize(table, old_images).set_index("method")
    assert summary.loc["genifer", "intransigence_mean"] == pytest.approx(-0.025)
    assert pd.isna(summary.loc["genifer", "intransigence_std"])
    assert intransigence(table, {}).empty
    assert summarize(table, {})["intransigence_mean"].isna().all()


def test_summary(accuracy: pd.DataFrame) -> None:
    other = accuracy.assign(seed=1, n_correct=accuracy["n_test"], accuracy=1.0)
    summary = summarize(pd.concat([accuracy, other]), {"genifer": "all"}).iloc[0]
    assert summary["method"] == "genifer"
    assert summary["n_seeds"] == 2
    first = {
        "average_incremental_accuracy": (0.8 + 0.75) / 2,
        "average_incremental_accuracy_with_first_task": (0.9 + 0.8 + 0.75) / 3,
        "final_accuracy": 0.75,
        "forgetting": 0.1,
        "backward_transfer": -0.1,
        "intransigence": 0.0,
    }
    for name in METRICS:
        second = 1.0 if "accuracy" in name else 0.0
        assert summary[f"{name}_mean"] == pytest.approx((first[name] + second) / 2)
        assert summary[f"{name}_std"] == pytest.approx(abs(first[name] - second) / 2**0.5)


def test_one_seed_and_one_task_leave_values_empty(accuracy: pd.DataFrame) -> None:
    summary = summarize(accuracy[accuracy["after_task"] == 0], {"genifer": "all"}).iloc[0]
    assert summary["final_accuracy_mean"] == pytest.approx(0.9)
    assert pd.isna(summary["final_accuracy_std"])
    assert pd.isna(summary["average_incremental_accuracy_mean"])
    assert summary[["forgetting_mean", "backward_transfer_mean", "intransigence_mean"]].isna().all()


def write_evaluation(results: Path, seed: int, place: str, rows: list[list[object]]) -> None:
    folder = results / "jobs" / f"seed_{seed}" / place
    folder.mkdir(parents=True)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(folder / "accuracy.csv", index=False)
    pair = ["ignored", seed, 1, 0, 0, "007", 1, "08", 5]
    pd.DataFrame([pair], columns=CONFUSION_COLUMNS).to_csv(folder / "confusion.csv", index=False)


def test_a_shared_evaluation_appears_under_each_label(tmp_path: Path) -> None:
    """Rows come in the order of labels and seeds; the method's name in the files is not looked at."""
    for seed in (10, 9):
        write_evaluation(tmp_path, seed, "shared/task_0/evaluate", [row("x", seed, 0, 0, 100, 90)])
        for label, correct in (("none", 95), ("finetune", 0)):
            later = [row("x", seed, 1, 1, 10, 9), row("x", seed, 1, 0, 100, correct)]
            write_evaluation(tmp_path, seed, f"{label}/task_1/evaluate", later)
    variants = {
        label: {"old_images": kind, "places": ["shared/task_0/evaluate", f"{label}/task_1/evaluate"]}
        for label, kind in (("none", "all"), ("finetune", "none"))
    }
    settings = {"": {"gan.batch_size": "64"}, "none": {"lwf.steps": "3"}, "finetune": {}}
    tabulate(tmp_path, [10, 9], variants, settings, "1993")
    table = read_table(tmp_path / "accuracy.csv", COLUMNS)
    assert list(table.columns) == ["run", *COLUMNS, "class_order"]
    assert set(table["run"]) == {tmp_path.name}
    columns = [table[name] for name in ("method", "seed", "after_task", "eval_task", "n_correct")]
    assert list(zip(*columns, strict=True)) == [
        (label, seed, *rest)
        for label, correct in (("none", 95), ("finetune", 0))
        for seed in (9, 10)
        for rest in ((0, 0, 90), (1, 0, correct), (1, 1, 9))
    ]
    confusion = read_table(tmp_path / "confusion.csv", CONFUSION_COLUMNS)
    assert confusion["method"].tolist() == ["none"] * 4 + ["finetune"] * 4
    assert set(confusion["class_name"]) == {"007"}
    assert set(confusion["predicted_name"]) == {"08"}
    summary = read_table(tmp_path / "summary.csv", SUMMARY_COLUMNS)
    assert list(summary.columns) == ["run", *SUMMARY_COLUMNS, "class_order"]
    assert set(summary["class_order"]) == {"1993"}
    stated = read_table(tmp_path / "settings.csv", SETTINGS_COLUMNS).fillna("")
    assert stated[SETTINGS_COLUMNS].to_numpy().tolist() == [
        ["", "gan.batch_size", "64"],
        ["none", "lwf.steps", "3"],
    ]
    assert summary["method"].tolist() == ["none", "finetune"]
    per_seed = read_table(tmp_path / "metrics_per_seed.csv", ["method", "seed", *METRICS])
    assert per_seed[["method", "seed"]].to_numpy().tolist() == [
        [label, seed] for label in ("none", "finetune") for seed in (9, 10)
    ]
    means = per_seed.groupby("method", sort=False)[list(METRICS)].mean().to_numpy()
    np.testing.assert_allclose(means, summary[[f"{name}_mean" for name in METRICS]].to_numpy(), atol=1e-6)
    assert summary["old_images"].tolist() == ["all", "none"]
    metrics = json.loads((tmp_path / "metrics" / "finetune.json").read_text())
    assert metrics == {
        "n_seeds": 2,
        "average_incremental_accuracy": pytest.approx(9 / 110, abs=1e-6),
        "average_incremental_accuracy_std": 0,
        "average_incremental_accuracy_with_first_task": pytest.approx((0.9 + 9 / 110) / 2, abs=1e-6),
        "average_incremental_accuracy_with_first_task_std": 0,
        "final_accuracy": pytest.approx(9 / 110, abs=1e-6),
        "final_accuracy_std": 0,
        "forgetting": pytest.approx(0.9),
        "forgetting_std": 0,
        "backward_transfer": pytest.approx(-0.9),
        "backward_transfer_std": 0,
        "intransigence": 0,
        "intransigence_std": 0,
        "accuracy_after_task_0": pytest.approx(0.9),
        "accuracy_after_task_1": pytest.approx(9 / 110, abs=1e-6),
    }


def test_the_summary_as_text(accuracy: pd.DataFrame) -> None:
    summary = summarize(accuracy, {})
    summary.insert(2, "old_images", ["exemplars"])
    header, line = summary_text(summary).splitlines()
    assert header.split("  ")[0] == "method"
    assert "old images" in header
    assert "exemplars" in line
    assert "75.0" in line
    single = summarize(accuracy[accuracy["after_task"] == 0], {})
    single.insert(2, "old_images", ["none"])
    assert summary_text(single).splitlines()[1].split() == ["genifer", "1", "none", "-", "90.0", "90.0", "-"]
    assert with_deviation(0.9634, 0.0126) == "96.3 +- 1.3"
    assert with_deviation(0.9634, 0.0126, "±") == "96.3 ± 1.3"
    assert with_deviation(0.9634, float("nan")) == "96.3"
    assert with_deviation(float("nan"), float("nan")) == ""


def write_metrics(results: Path, place: str, text: str) -> None:
    folder = results / "jobs" / "seed_4" / place
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(text)


def test_all_trainings_in_one_table(tmp_path: Path) -> None:
    """A shared training appears under each label; one that logs nothing keeps a row; any name of a scalar works."""
    write_metrics(
        tmp_path,
        "shared/task_0/pretrain_gan",
        "job,seed,task,step,loss,r1\npretrain_gan,4,0,1,0.5,0.25\npretrain_gan,4,0,2,0.75,\n",
    )
    write_metrics(tmp_path, "a/task_2/train_a", "job,seed,task,step,value\ntrain_a,4,2,9,0.125\n")
    write_metrics(tmp_path, "b/task_2/train_b", "job,seed,task,step\n")
    shared = "shared/task_0/pretrain_gan"
    tabulate_training(tmp_path, [4], {"one": [shared, "a/task_2/train_a"], "2": [shared, "b/task_2/train_b"]})
    lines = (tmp_path / "training.csv").read_text().splitlines()
    assert lines[0].startswith("run,")
    assert {line.split(",")[0] for line in lines[1:]} == {tmp_path.name}
    assert [line.split(",", 1)[1] for line in lines] == [
        "method,job,seed,task,step,scalar,value",
        "one,pretrain_gan,4,0,1,loss,0.5",
        "one,pretrain_gan,4,0,2,loss,0.75",
        "one,pretrain_gan,4,0,1,r1,0.25",
        "one,train_a,4,2,9,value,0.125",
        "2,pretrain_gan,4,0,1,loss,0.5",
        "2,pretrain_gan,4,0,2,loss,0.75",
        "2,pretrain_gan,4,0,1,r1,0.25",
        "2,train_b,4,2,0,,",
    ]
    assert read_table(tmp_path / "training.csv", TRAINING_COLUMNS)["method"].tolist()[-1] == "2"
    tabulate_training(tmp_path, [4], {})
    assert read_table(tmp_path / "training.csv", TRAINING_COLUMNS).empty


def test_replay_of_each_label(tmp_path: Path) -> None:
    layout = made_up_run(
        tmp_path,
        methods={"genifer": {}, "other": {"method": "genifer", "train_gan": {"steps": 9}}, "joint": {}},
        scenario={"tasks": [2, 1, 1]},
        seeds=[0, 1],
    )
    replay = read_table(Path(layout.table("replay")), REPLAY_COLUMNS)
    assert list(replay.columns) == ["run", *REPLAY_COLUMNS]
    rows = replay.groupby(["method", "seed", "after_task"], sort=False).size().to_dict()
    assert rows == {
        (label, seed, task): classes
        for label in ("genifer", "other")
        for seed in (0, 1)
        for task, classes in ((0, 2), (1, 3))
    }
    summary = read_table(Path(layout.table("summary")), SUMMARY_COLUMNS)
    assert dict(zip(summary["method"], summary["old_images"], strict=True)) == {
        "genifer": "none",
        "other": "none",
        "joint": "all",
    }
    tabulate_replay(tmp_path, [0], {})
    assert read_table(tmp_path / "replay.csv", REPLAY_COLUMNS).empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as a CSV file"),
        (b"\xff\xfe\x00", "cannot be read as a CSV file"),
        ('method,seed\n"a,1\n', "cannot be read as a CSV file"),
        ("method,seed\na,1\n", "has no column after_task, accuracy"),
        ("method,seed,after_task,accuracy\n", "has no rows"),
        (
            "method,seed,after_task,accuracy\na,0,0,0.5\na,0,0,x\n",
            "row 2: accuracy is 'x'; it must be a number",
        ),
        (
            "method,seed,after_task,accuracy\na,0,0.5,1\n",
            "row 1: after_task is '0.5'; it must be a whole number",
        ),
        ("method,seed,after_task,accuracy\na,0,,1\n", "after_task is empty; it must be a whole number"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "accuracy.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(GeniferError, match="snakemake") as refused:
        read_table(path, ["method", "seed", "after_task", "accuracy"], needs_rows=True)
    assert message in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeniferError, match=r"accuracy.csv: is missing; run snakemake"):
        read_table(tmp_path / "accuracy.csv", COLUMNS)


def test_names_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("method,class_name,agreement,frechet\n007,NA,1,nan\nnull,1e3,0.5,\n")
    table = read_table(path, ["method", "class_name", "agreement", "frechet"])
    assert table["method"].tolist() == ["007", "null"]
    assert table["class_name"].tolist() == ["NA", "1e3"]
    assert table["agreement"].tolist() == [1.0, 0.5]
    assert table["frechet"].isna().all()


def test_forgetting_class_by_class(tmp_path: Path) -> None:
    """Best before the last task, less the end; the last task's classes are left out; worst first."""
    rows = [
        ["genifer", seed, after, task, label, name, predicted, "cat", count]
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
    confusion = read_table(tmp_path / "confusion.csv", CONFUSION_COLUMNS)
    accuracy = class_accuracy(confusion).query("seed == 1 and after_task == 2")["accuracy"]
    assert accuracy.tolist() == [0.0, 0.5, 1.0, 1.0]
    table = forgetting_of_classes(confusion)
    assert table["class_name"].tolist() == ["cat", "1e3", "NA"]
    assert table["best"].tolist() == pytest.approx([0.95, 1.0, 1.0])
    assert table["forgetting"].tolist() == pytest.approx([0.95, 0.5, 0.0])


def test_classes_are_known_by_name_where_each_seed_has_an_order() -> None:
    """Seed 0 learns ant, bee, cat; seed 1 learns cat, ant, bee: means are those of a class, not of a position."""
    orders = {0: ["ant", "bee", "cat"], 1: ["cat", "ant", "bee"]}
    right = {("ant", 0): (8, 2), ("bee", 0): (6, 6), ("cat", 1): (10, 4), ("ant", 1): (4, 2)}
    rows = []
    for seed, order in orders.items():
        for after in (1, 2):
            for label, name in enumerate(order[: after + 1]):
                correct = right.get((name, seed), (9, 9))[after - 1]
                for predicted, n in ((label, correct), ((label + 1) % 3, 10 - correct)):
                    rows.append(["genifer", seed, after, label, label, name, predicted, order[predicted], n])
    confusion = pd.DataFrame(rows, columns=CONFUSION_COLUMNS)
    assert not has_one_order(confusion)
    assert has_one_order(confusion[confusion["seed"] == 1])
    table = forgetting_of_classes(confusion).set_index("class_name")
    assert table["n_seeds"].to_dict() == {"cat": 1, "ant": 2, "bee": 1}
    assert table["best"].to_dict() == pytest.approx({"cat": 1.0, "ant": 0.6, "bee": 0.6})
    assert table["final"].to_dict() == pytest.approx({"cat": 0.4, "ant": 0.2, "bee": 0.6})
    common = with_common_labels(confusion)
    assert dict(zip(common["class_name"], common["label"], strict=True)) == {"ant": 0, "bee": 1, "cat": 2}
    of_one = confusion[confusion["seed"] == 1]
    assert with_common_labels(of_one) is of_one


def test_tables_name_the_class_order(tmp_path: Path) -> None:
    orders = {"drawn": "seed", "7": 7, "sorted": "sorted", "given": [2, 0, 1]}
    for run, order in orders.items():
        made_up_run(tmp_path, run=run, scenario={"tasks": [2, 1], "class_order": order}, methods=["lwf"])
        for name in ("accuracy", "summary"):
            expected = "seed" if run == "drawn" else run
            assert set(pd.read_csv(tmp_path / run / f"{name}.csv", dtype=str)["class_order"]) == {expected}
