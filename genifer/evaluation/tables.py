"""Tables of a run: read and write them, collect them from jobs, and compute metrics from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from genifer.config import SEED
from genifer.errors import GeniferError
from genifer.evaluation import (
    COLUMNS,
    CONFUSION_COLUMNS,
    METRIC_NAMES,
    METRICS,
    ORDER_COLUMN,
    REPLAY_COLUMNS,
    RUN_COLUMN,
    SETTINGS_COLUMNS,
    TRAINING_COLUMNS,
)
from genifer.layout import METRICS as METRICS_FILE
from genifer.layout import seed_folder, table_path
from genifer.runtime.files import atomic_write

TEXT_COLUMNS = (
    RUN_COLUMN,
    "method",
    "old_images",
    "series",
    "class_name",
    "predicted_name",
    ORDER_COLUMN,
    "job",
    "group",
    "scalar",
    "setting",
    "setting_value",
    "ended",
    "device",
    "machine",
    "precision",
    "genifer",
    "torch",
    "python",
)
"""Columns read as text even if they look like numbers, because a class may be named 007."""

WHOLE_COLUMNS = (
    "after_task",
    "eval_task",
    "label",
    "predicted",
    "n_classes",
    "n_test",
    "n_correct",
    "n_images",
)
"""Columns with an integer in every row."""


def read_table(path: Path, columns: Sequence[str], *, needs_rows: bool = False) -> pd.DataFrame:
    """Read a CSV file of a run.

    Args:
        columns: required columns; there may be more.
        needs_rows: raise an error if the table has no rows.

    Raises:
        GeniferError: the file is missing, is not CSV, lacks a column or rows, or has text instead of numbers.
    """
    try:
        table = pd.read_csv(
            path, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False, na_values=[""]
        )
    except FileNotFoundError as error:
        raise GeniferError(f"{path}: is missing; run snakemake with the run file to make it") from error
    except (OSError, ValueError) as error:
        raise GeniferError(f"{path}: cannot be read as a CSV file ({error}). {_MAKE_AGAIN}") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise GeniferError(
            f"{path}: has no column {', '.join(missing)}; needed are {', '.join(columns)}. {_MAKE_AGAIN}"
        )
    if needs_rows and table.empty:
        raise GeniferError(f"{path}: has no rows. {_MAKE_AGAIN}")
    for name in columns:
        if name not in TEXT_COLUMNS:
            table[name] = _numbers(table, name, path)
    return table


_MAKE_AGAIN = "If genifer wrote this file, delete it and run snakemake to make it again"


def _numbers(table: pd.DataFrame, name: str, path: Path) -> pd.Series:
    given = table[name]
    numbers = pd.to_numeric(given, errors="coerce")
    is_number = numbers.notna() | given.isna() | (given.astype(str) == "nan")
    if name in WHOLE_COLUMNS:
        is_number = numbers.ge(0) & (numbers == numbers.round())
    if not is_number.all():
        row = int((~is_number).to_numpy().argmax())
        value = "empty" if pd.isna(given.iloc[row]) else f"'{given.iloc[row]}'"
        wanted = "a whole number" if name in WHOLE_COLUMNS else "a number"
        raise GeniferError(f"{path}, row {row + 1}: {name} is {value}; it must be {wanted}. {_MAKE_AGAIN}")
    return numbers.astype("int64") if name in WHOLE_COLUMNS else numbers


def write_table_of_run(table: pd.DataFrame, results: Path, name: str, float_format: str) -> None:
    """Write a CSV file of a run, with the run's name as first column.

    Args:
        results: the run's folder.
        float_format: see `write_table`.
    """
    with_run = table.copy()
    with_run.insert(0, RUN_COLUMN, results.name)
    write_table(with_run, Path(table_path(results, name)), float_format)


def write_table(table: pd.DataFrame, path: Path, float_format: str) -> None:
    """Write a table as CSV, atomically.

    Args:
        float_format: format of floats, such as ``%.6f``.
    """
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format=float_format)


def tabulate(
    results: Path,
    seeds: Sequence[int],
    variants: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Mapping[str, str]],
    class_order: str,
) -> None:
    """Collect evaluations into the tables of accuracies, and metrics/<label>.json.

    The tables are accuracy, summary, metrics_per_seed, confusion and settings.csv. The JSON files repeat the
    metrics of each label for DVC, which cannot read metrics from CSV files.

    Args:
        results: the run's folder.
        variants: for each label ``old_images`` (none, all or exemplars) and ``places``, the folders of its
            evaluations relative to a seed's.
        settings: the settings on which the accuracies of each label depend; under an empty label those that
            are the same for all.
        class_order: see `ORDER_COLUMN`.
    """
    places = {label: variant["places"] for label, variant in variants.items()}
    accuracy = collect(results, seeds, places, "accuracy.csv", COLUMNS)
    confusion = collect(results, seeds, places, "confusion.csv", CONFUSION_COLUMNS)
    old_images = {label: variant["old_images"] for label, variant in variants.items()}
    summary = summarize(accuracy, old_images)
    summary.insert(2, "old_images", [old_images[label] for label in summary["method"]])
    order = {ORDER_COLUMN: class_order}
    write_table_of_run(accuracy.assign(**order), results, "accuracy", "%.6f")
    write_table_of_run(summary.assign(**order), results, "summary", "%.6f")
    per_seed = metrics_per_seed(accuracy, old_images)
    write_table_of_run(per_seed.assign(**order), results, "metrics_per_seed", "%.6f")
    write_table_of_run(confusion, results, "confusion", "%.6f")
    rows = [[label, name, value] for label, own in settings.items() for name, value in own.items()]
    write_table_of_run(pd.DataFrame(rows, columns=SETTINGS_COLUMNS), results, "settings", "%.6f")
    for label in variants:
        metrics = metrics_of_method(accuracy, summary, label)
        with atomic_write(results / "metrics" / f"{label}.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def collect(
    results: Path,
    seeds: Sequence[int],
    places: Mapping[str, Sequence[str]],
    file: str,
    columns: Sequence[str],
) -> pd.DataFrame:
    """Collect evaluations of all labels and seeds into one table; shared ones appear under each label.

    Args:
        places: for each label its folders, relative to a seed's.
        file: name of the table in each folder.
        columns: columns of the result, ``method`` first.

    Returns:
        Rows in the order of labels, seeds, ``after_task`` and ``eval_task``.
    """
    tables = []
    for label, folders in places.items():
        rows = pd.concat(
            [
                read_table(Path(seed_folder(results, seed), folder, file), columns[1:])
                for seed in seeds
                for folder in folders
            ]
        )
        rows = rows.sort_values(["seed", "after_task", "eval_task"], kind="stable")
        tables.append(rows.assign(method=label))
    return pd.concat(tables, ignore_index=True)[list(columns)]


def tabulate_replay(results: Path, seeds: Sequence[int], variants: Mapping[str, Sequence[str]]) -> None:
    """Collect the evaluations of all GANs into replay.csv.

    Args:
        results: the run's folder.
        variants: for each label with a GAN the folders of its evaluations, relative to a seed's.
    """
    empty = pd.DataFrame(columns=REPLAY_COLUMNS)
    table = collect(results, seeds, variants, "replay.csv", REPLAY_COLUMNS) if variants else empty
    write_table_of_run(table, results, "replay", "%.6g")


def tabulate_training(results: Path, seeds: Sequence[int], variants: Mapping[str, Sequence[str]]) -> None:
    """Collect the metrics of all trainings into training.csv, one row per scalar and logged step.

    Args:
        results: the run's folder.
        variants: for each label the folders of its trainings, relative to a seed's.
    """
    tables = [
        _training(Path(seed_folder(results, seed), place, METRICS_FILE), seed, place).assign(method=label)
        for label, places in variants.items()
        for seed in seeds
        for place in places
    ]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=TRAINING_COLUMNS)
    write_table_of_run(table[TRAINING_COLUMNS], results, "training", "%.6g")


def _training(path: Path, seed: int, place: str) -> pd.DataFrame:
    """Read the scalars of one training in long format."""
    keys = ["job", "seed", "task", "step"]
    wide = read_table(path, keys)
    columns = [
        wide[keys].assign(scalar=str(name), value=pd.to_numeric(wide[name]))
        for name in wide
        if name not in keys
    ]
    # Rows are empty at the steps at which a scalar is not logged.
    table = pd.concat(columns).dropna() if columns else pd.DataFrame()
    if table.empty:
        _, task, job = parse_place(place)
        table = pd.DataFrame([[job, seed, task, 0, None, None]], columns=[*keys, "scalar", "value"])
    return table


def parse_place(place: str) -> tuple[str, int, str]:
    """Return group, task and name of the job in a folder ``<group>/task_<t>/<job>``."""
    group, task, job = place.split("/")
    return group, int(task.removeprefix("task_")), job


def incremental_accuracy(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Compute the accuracy on all test images of the classes seen so far, after each task.

    Returns:
        Columns method, seed, after_task, classes_seen, accuracy.
    """
    grouped = accuracy.groupby(["method", "seed", "after_task"], sort=False)[
        ["n_classes", "n_test", "n_correct"]
    ].sum()
    table = grouped.reset_index().rename(columns={"n_classes": "classes_seen"})
    table["accuracy"] = table["n_correct"] / table["n_test"]
    return table[["method", "seed", "after_task", "classes_seen", "accuracy"]]


def average_incremental_accuracy(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Average `incremental_accuracy` over the later tasks.

    Returns:
        Columns method, seed, accuracy.
    """
    steps = incremental_accuracy(accuracy)
    later = steps[steps["after_task"] > steps["after_task"].min()]
    return later.groupby(["method", "seed"], sort=False)["accuracy"].mean().reset_index()


def forgetting(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Compute forgetting of each task but the last: best accuracy before the last task minus final accuracy.

    Defined as in Chaudhry et al. (2018), section 3.

    Returns:
        Columns method, seed, eval_task, forgetting.
    """
    last = accuracy["after_task"].max()
    before = accuracy[(accuracy["after_task"] < last)]
    best = before.groupby(["method", "seed", "eval_task"], sort=False)["accuracy"].max()
    end = accuracy[accuracy["after_task"] == last].set_index(["method", "seed", "eval_task"])["accuracy"]
    return (best - end.reindex(best.index)).rename("forgetting").reset_index()


def accuracy_when_learned(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Select the accuracy on each task right after it was learned.

    Returns:
        Columns method, seed, eval_task, accuracy; no rows for tasks before the run's first.
    """
    own = accuracy[accuracy["after_task"] == accuracy["eval_task"]]
    return own[["method", "seed", "eval_task", "accuracy"]]


def backward_transfer(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Compute for each task but the last its final accuracy minus that right after it was learned.

    Defined as in Lopez-Paz and Ranzato (2017), equation 3.

    Returns:
        Columns method, seed, eval_task, backward_transfer.
    """
    keys = ["method", "seed", "eval_task"]
    last = accuracy["after_task"].max()
    learned = accuracy_when_learned(accuracy)
    before = learned[learned["eval_task"] < last].set_index(keys)["accuracy"]
    end = accuracy[accuracy["after_task"] == last].set_index(keys)["accuracy"]
    return (end.reindex(before.index) - before).rename("backward_transfer").reset_index()


def intransigence(accuracy: pd.DataFrame, old_images: Mapping[str, str]) -> pd.DataFrame:
    """Compute for each later task how much more accurate the joint bound is right after learning it.

    Defined as in Chaudhry et al. (2018), section 3. The bound is the first method that trains on the images
    of all tasks.

    Args:
        old_images: none, all or exemplars for each method.

    Returns:
        Columns method, seed, eval_task, intransigence; no rows for seeds without the bound.
    """
    keys = ["seed", "eval_task"]
    learned = accuracy_when_learned(accuracy)
    later = learned[learned["eval_task"] > accuracy["after_task"].min()]
    bounds = [method for method in dict.fromkeys(accuracy["method"]) if old_images.get(method) == "all"]
    bound = later[later["method"] == bounds[0]] if bounds else later.head(0)
    table = later.merge(bound[[*keys, "accuracy"]], on=keys, suffixes=("", "_of_bound"))
    table["intransigence"] = table["accuracy_of_bound"] - table["accuracy"]
    return table[["method", *keys, "intransigence"]]


def order_is_drawn(accuracy: pd.DataFrame) -> bool:
    """Whether each seed of accuracy.csv has a class order of its own, because it is drawn from the seed."""
    return ORDER_COLUMN in accuracy and bool((accuracy[ORDER_COLUMN] == SEED).any())


def has_one_order(table: pd.DataFrame) -> bool:
    """Whether all seeds of a table with ``label`` and ``class_name`` learn the classes in the same order."""
    return bool(table.drop_duplicates(["label", "class_name"])["label"].is_unique)


def with_common_labels(table: pd.DataFrame) -> pd.DataFrame:
    """Give each class the same ``label`` for all seeds, numbered in the class order of the first seed.

    A table whose seeds share one class order is returned unchanged.
    """
    if has_one_order(table):
        return table
    first = table.sort_values(["seed", "label"], kind="stable")["class_name"].drop_duplicates()
    labels = {name: label for label, name in enumerate(first)}
    return table.assign(label=table["class_name"].map(labels))


def class_accuracy(confusion: pd.DataFrame) -> pd.DataFrame:
    """Compute the accuracy on each class after each task.

    Returns:
        Columns method, seed, after_task, eval_task, label, class_name, accuracy.
    """
    right = confusion["n_images"].where(confusion["label"] == confusion["predicted"], 0)
    keys = ["method", "seed", "after_task", "eval_task", "label", "class_name"]
    table = confusion.assign(n_correct=right).groupby(keys, sort=False)[["n_images", "n_correct"]].sum()
    return (table["n_correct"] / table["n_images"]).rename("accuracy").reset_index()


def forgetting_of_classes(confusion: pd.DataFrame) -> pd.DataFrame:
    """Compute `forgetting` of each class not in the last task: means over the seeds, worst first.

    If each seed has a class order of its own, a class has no fixed task and label. Its mean is over the seeds
    in which it is not in the last task.

    Returns:
        Columns method, eval_task, label, class_name, best, final, forgetting; or, with an order per seed,
        method, class_name, n_seeds, best, final, forgetting.
    """
    accuracy = class_accuracy(confusion)
    last = accuracy["after_task"].max()
    keys = ["method", "seed", "eval_task", "label", "class_name"]
    best = accuracy[accuracy["after_task"] < last].groupby(keys, sort=False)["accuracy"].max()
    final = accuracy[accuracy["after_task"] == last].set_index(keys)["accuracy"]
    table = pd.DataFrame({"best": best, "final": final.reindex(best.index)})
    table["forgetting"] = table["best"] - table["final"]
    if has_one_order(confusion):
        means = table.groupby([key for key in keys if key != "seed"], sort=False).mean().reset_index()
    else:
        of_classes = table.groupby(["method", "class_name"], sort=False)
        means = of_classes.mean().reset_index()
        means.insert(2, "n_seeds", of_classes.size().to_numpy())
    return means.sort_values("forgetting", ascending=False, kind="stable", ignore_index=True)


def metrics_per_seed(accuracy: pd.DataFrame, old_images: Mapping[str, str]) -> pd.DataFrame:
    """Compute the metrics of each method and seed.

    Undefined values are empty: an average over later tasks if there is only one task, and intransigence
    without a joint bound.

    Args:
        old_images: none, all or exemplars for each method.

    Returns:
        Columns method, seed and `METRICS`.
    """
    steps = incremental_accuracy(accuracy)
    keys = ["method", "seed"]
    last = steps[steps["after_task"] == steps["after_task"].max()]
    table = pd.DataFrame(
        {
            "average_incremental_accuracy": average_incremental_accuracy(accuracy).set_index(keys)[
                "accuracy"
            ],
            "average_incremental_accuracy_with_first_task": steps.groupby(keys, sort=False)[
                "accuracy"
            ].mean(),
            "final_accuracy": last.set_index(keys)["accuracy"],
            "forgetting": _mean_over_tasks(forgetting(accuracy)),
            "backward_transfer": _mean_over_tasks(backward_transfer(accuracy)),
            "intransigence": _mean_over_tasks(intransigence(accuracy, old_images)),
        },
        index=pd.MultiIndex.from_frame(accuracy[keys].drop_duplicates()),
    )
    return table.reset_index()[[*keys, *METRICS]]


def summarize(accuracy: pd.DataFrame, old_images: Mapping[str, str]) -> pd.DataFrame:
    """Compute mean and sample standard deviation over the seeds of each metric, one row per method.

    Undefined values are empty, see `metrics_per_seed`; so is the deviation of a single seed.

    Args:
        old_images: none, all or exemplars for each method.
    """
    rows = []
    for method, values in metrics_per_seed(accuracy, old_images).groupby("method", sort=False):
        row: dict[str, object] = {"method": method, "n_seeds": len(values)}
        for name in METRICS:
            row[f"{name}_mean"] = values[name].mean()
            row[f"{name}_std"] = values[name].std(ddof=1)
        rows.append(row)
    return pd.DataFrame(rows)


def _mean_over_tasks(table: pd.DataFrame) -> pd.Series:
    """Average the last column for each method and seed."""
    return table.groupby(["method", "seed"], sort=False)[table.columns[-1]].mean()


def metrics_of_method(accuracy: pd.DataFrame, summary: pd.DataFrame, method: str) -> dict[str, float]:
    """Return a method's metrics and its incremental accuracy after each task.

    All values are means over the seeds; undefined ones are left out.
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
    """Format the summary as an aligned text table, accuracies in per cent."""
    lines = [["method", "seeds", "old images", *METRIC_NAMES.values()]]
    for _, row in summary.iterrows():
        cells = [with_deviation(row[f"{name}_mean"], row[f"{name}_std"]) or "-" for name in METRIC_NAMES]
        lines.append([str(row["method"]), str(row["n_seeds"]), str(row["old_images"]), *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def with_deviation(mean: float, std: float, sign: str = "+-") -> str:
    """Format a mean and a standard deviation, given as shares, in per cent: ``96.3 +- 1.3``.

    Returns:
        Only the mean if the deviation is missing; an empty string if both are.
    """
    if pd.isna(mean):
        return ""
    return f"{100 * mean:.1f}" if pd.isna(std) else f"{100 * mean:.1f} {sign} {100 * std:.1f}"
