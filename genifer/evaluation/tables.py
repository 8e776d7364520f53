"""The tables of a run, and the metrics that they hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from genifer.evaluation import COLUMNS, CONFUSION_COLUMNS, REPLAY_COLUMNS
from genifer.runtime.files import whole_file

FIRST_TASK = "first_task"
"""In place of a method: the evaluation after task 0, which all methods share."""

METRICS = (
    "average_incremental_accuracy",
    "average_incremental_accuracy_with_first_task",
    "final_accuracy",
    "forgetting",
)


def read_table(path: Path) -> pd.DataFrame:
    """A table of this project; names of classes stay text, whatever they look like."""
    return pd.read_csv(path, dtype={"class_name": str}, keep_default_na=False, na_values=[""])


def tabulate(methods: Sequence[str], evaluations: Sequence[Path], output: Path) -> None:
    """Collect evaluations (folders) into ``accuracy.csv``, ``summary.csv`` and ``confusion.csv``.

    ``metrics/<method>.json`` holds a method's metrics once more for DVC, which reads no CSV file
    as metrics.
    """
    accuracy = collect(methods, [folder / "accuracy.csv" for folder in evaluations], COLUMNS)
    confusion = collect(methods, [folder / "confusion.csv" for folder in evaluations], CONFUSION_COLUMNS)
    summary = summarize(accuracy)
    with whole_file(output / "accuracy.csv") as temporary:
        accuracy.to_csv(temporary, index=False, float_format="%.6f")
    with whole_file(output / "summary.csv") as temporary:
        summary.to_csv(temporary, index=False, float_format="%.6f")
    with whole_file(output / "confusion.csv") as temporary:
        confusion.to_csv(temporary, index=False)
    for method in methods:
        metrics = metrics_of_method(accuracy, summary, method)
        with whole_file(output / "metrics" / f"{method}.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def tabulate_training(metrics: Sequence[Path], output: Path) -> None:
    """Collect the ``metrics.csv`` of all trainings into one table with a row for each scalar and step."""
    keys = ["stage", "seed", "task", "step"]
    tables = [pd.read_csv(path).melt(keys, var_name="scalar") for path in metrics]
    # A training that logs a scalar in some steps only leaves its other rows empty.
    table = pd.concat(tables).dropna() if tables else pd.DataFrame(columns=[*keys, "scalar", "value"])
    with whole_file(output) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def tabulate_replay(evaluations: Sequence[Path], output: Path) -> None:
    """Collect the ``replay.csv`` of all GANs into one table."""
    tables = [read_table(path) for path in evaluations]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=REPLAY_COLUMNS)
    with whole_file(output) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def collect(methods: Sequence[str], evaluations: Sequence[Path], columns: Sequence[str]) -> pd.DataFrame:
    """One table; the evaluation of the shared first task appears under every method."""
    rows = pd.concat([read_table(path) for path in evaluations], ignore_index=True)
    shared = rows[rows["method"] == FIRST_TASK]
    own = rows[rows["method"] != FIRST_TASK]
    table = pd.concat([own, *(shared.assign(method=method) for method in methods)])
    rank = {method: index for index, method in enumerate(methods)}
    table = table.sort_values(
        ["method", "seed", "after_task", "eval_task"],
        key=lambda column: column.map(rank) if column.name == "method" else column,
        kind="stable",
    )
    return table[list(columns)].reset_index(drop=True)


def incremental_accuracy(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Share of right answers over all test images of the classes seen so far, after each task.

    Returns:
        Columns method, seed, after_task, classes_seen, accuracy.
    """
    grouped = accuracy.groupby(["method", "seed", "after_task"], sort=False)[
        ["n_classes", "n_test", "n_correct"]
    ].sum()
    table = grouped.reset_index().rename(columns={"n_classes": "classes_seen"})
    table["accuracy"] = table["n_correct"] / table["n_test"]
    return table[["method", "seed", "after_task", "classes_seen", "accuracy"]]


def forgetting(accuracy: pd.DataFrame) -> pd.DataFrame:
    """For each task but the last: its best accuracy before the last task, less that after it.

    The definition of Chaudhry et al. (2018), section 3.

    Returns:
        Columns method, seed, eval_task, forgetting.
    """
    last = accuracy["after_task"].max()
    before = accuracy[(accuracy["after_task"] < last)]
    best = before.groupby(["method", "seed", "eval_task"], sort=False)["accuracy"].max()
    end = accuracy[accuracy["after_task"] == last].set_index(["method", "seed", "eval_task"])["accuracy"]
    return (best - end.reindex(best.index)).rename("forgetting").reset_index()


def class_accuracy(confusion: pd.DataFrame) -> pd.DataFrame:
    """Columns method, seed, after_task, eval_task, label, class_name, accuracy."""
    right = confusion["n_images"].where(confusion["label"] == confusion["predicted"], 0)
    keys = ["method", "seed", "after_task", "eval_task", "label", "class_name"]
    table = confusion.assign(n_correct=right).groupby(keys, sort=False)[["n_images", "n_correct"]].sum()
    return (table["n_correct"] / table["n_images"]).rename("accuracy").reset_index()


def forgetting_of_classes(confusion: pd.DataFrame) -> pd.DataFrame:
    """For each class but those of the last task the same as `forgetting`, means over the seeds, worst first.

    Returns:
        Columns method, eval_task, label, class_name, best, final, forgetting.
    """
    accuracy = class_accuracy(confusion)
    last = accuracy["after_task"].max()
    keys = ["method", "seed", "eval_task", "label", "class_name"]
    best = accuracy[accuracy["after_task"] < last].groupby(keys, sort=False)["accuracy"].max()
    final = accuracy[accuracy["after_task"] == last].set_index(keys)["accuracy"]
    table = pd.DataFrame({"best": best, "final": final.reindex(best.index)})
    table["forgetting"] = table["best"] - table["final"]
    means = table.groupby([key for key in keys if key != "seed"], sort=False).mean().reset_index()
    return means.sort_values("forgetting", ascending=False, kind="stable", ignore_index=True)


def summarize(accuracy: pd.DataFrame) -> pd.DataFrame:
    """One row a method: mean and sample standard deviation over the seeds of each metric.

    A value that does not exist is empty: the deviation of a single seed, or an average
    over later tasks where there is but one task.
    """
    steps = incremental_accuracy(accuracy)
    keys = ["method", "seed"]
    later = steps[steps["after_task"] > steps["after_task"].min()]
    last = steps[steps["after_task"] == steps["after_task"].max()]
    per_seed = pd.DataFrame(
        {
            "average_incremental_accuracy": later.groupby(keys, sort=False)["accuracy"].mean(),
            "average_incremental_accuracy_with_first_task": steps.groupby(keys, sort=False)[
                "accuracy"
            ].mean(),
            "final_accuracy": last.set_index(keys)["accuracy"],
            "forgetting": forgetting(accuracy).groupby(keys, sort=False)["forgetting"].mean(),
        }
    )
    rows = []
    for method in dict.fromkeys(accuracy["method"]):
        values = per_seed.loc[method]
        row: dict[str, object] = {"method": method, "n_seeds": len(values)}
        for name in METRICS:
            row[f"{name}_mean"] = values[name].mean()
            row[f"{name}_std"] = values[name].std(ddof=1)
        rows.append(row)
    return pd.DataFrame(rows)


def metrics_of_method(accuracy: pd.DataFrame, summary: pd.DataFrame, method: str) -> dict[str, float]:
    """A method's row of the summary, and its incremental accuracy after each task.

    All are means over the seeds; values that do not exist are left out.
    """
    row = summary[summary["method"] == method].iloc[0]
    metrics: dict[str, float] = {"n_seeds": int(row["n_seeds"])}
    for name in METRICS:
        for key, value in ((name, row[f"{name}_mean"]), (f"{name}_std", row[f"{name}_std"])):
            if not pd.isna(value):
                metrics[key] = round(float(value), 6)
    steps = incremental_accuracy(accuracy[accuracy["method"] == method])
    for task, of_task in steps.groupby("after_task"):
        metrics[f"accuracy_after_task_{task}"] = round(float(of_task["accuracy"].mean()), 6)
    return metrics


def summary_text(summary: pd.DataFrame) -> str:
    """The summary as a table for people, in per cent."""

    def cell(row: pd.Series, name: str) -> str:
        mean, std = row[f"{name}_mean"], row[f"{name}_std"]
        if pd.isna(mean):
            return "-"
        return f"{100 * mean:.1f}" if pd.isna(std) else f"{100 * mean:.1f} +- {100 * std:.1f}"

    header = ["method", "seeds", "average incremental", "with first task", "final", "forgetting"]
    lines = [header]
    for _, row in summary.iterrows():
        lines.append([str(row["method"]), str(row["n_seeds"]), *(cell(row, name) for name in METRICS)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
