"""Comparison of methods across runs: means over seeds, and differences between paired seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy.stats import t as student

from genifer.errors import GeniferError
from genifer.evaluation import COLUMNS, ORDER_COLUMN, SIZES
from genifer.evaluation.tables import average_incremental_accuracy, read_table, summarize
from genifer.layout import table_path
from genifer.task_sizes import tasks_text

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Definition:
    """What must agree before accuracies may be averaged or compared.

    Attributes:
        tasks: number of new classes in each task.
        order: names of all classes in the order in which they are learned; sorted if the order is drawn.
        n_test: number of test images of each task; of all tasks together if the order is drawn.
        drawn: whether the class order is drawn from the seed, so that each seed has its own.
    """

    tasks: tuple[int, ...]
    order: tuple[str, ...]
    n_test: tuple[int, ...]
    drawn: bool = False

    @property
    def scenario(self) -> str:
        """The tasks in the notation of papers, such as 50 + 5 x 10."""
        return tasks_text(self.tasks)


@dataclass(frozen=True)
class Finished:
    """The accuracies of a finished run and their definition.

    Attributes:
        old_images: none, all or exemplars for each method.
        sizes: columns method, seed and `SIZES`; values that the run's budget.csv lacks are empty.
    """

    name: str
    definition: Definition
    accuracy: pd.DataFrame
    old_images: Mapping[str, str]
    sizes: pd.DataFrame


@dataclass(frozen=True)
class Group:
    """The accuracies of all runs with one definition.

    Attributes:
        title: the scenario, and whatever else distinguishes the definition from those of other groups.
        accuracy: as in accuracy.csv.
        old_images, sizes: as in `Finished`.
    """

    title: str
    accuracy: pd.DataFrame
    old_images: Mapping[str, str]
    sizes: pd.DataFrame


def read_run(folder: Path) -> Finished:
    """Read the tables of a finished run.

    Raises:
        GeniferError: a table is missing or damaged.
    """
    accuracy = read_table(Path(table_path(folder, "accuracy")), COLUMNS, needs_rows=True)
    confusion = read_table(Path(table_path(folder, "confusion")), ["label", "class_name"], needs_rows=True)
    tasks = accuracy.drop_duplicates("eval_task").sort_values("eval_task")
    classes = confusion.drop_duplicates("label").sort_values("label")
    n_classes, n_test = (tuple(map(int, tasks[name])) for name in ("n_classes", "n_test"))
    if ORDER_COLUMN in accuracy:
        names = tuple(sorted(set(confusion["class_name"])))
        definition = Definition(n_classes, names, (sum(n_test),), drawn=True)
    else:
        definition = Definition(n_classes, tuple(classes["class_name"]), n_test)
    return Finished(folder.name, definition, accuracy, _old_images(folder), _sizes(folder))


def _old_images(folder: Path) -> dict[str, str]:
    """Read the old images of each method from summary.csv; empty if there is no such file."""
    path = Path(table_path(folder, "summary"))
    if not path.is_file():
        return {}
    summary = read_table(path, ["method", "old_images"])
    return dict(zip(summary["method"], summary["old_images"], strict=True))


def _sizes(folder: Path) -> pd.DataFrame:
    """Read the sizes of each method and seed from budget.csv; runs of earlier versions lack some or all."""
    path, keys = Path(table_path(folder, "budget")), ["method", "seed"]
    table = pd.DataFrame(columns=keys)
    if path.is_file():
        known = [name for name in SIZES if name in read_table(path, keys)]
        table = read_table(path, [*keys, *known])
    return table.reindex(columns=[*keys, *SIZES]).astype(dict.fromkeys(SIZES, float))


def groups_of(runs: Sequence[Finished], *, apart: bool = False) -> list[Group]:
    """Group runs with the same definition.

    Args:
        apart: make every run a group of its own instead.

    Raises:
        GeniferError: two runs of a group have different results for the same method and seed.
    """
    definitions = list(dict.fromkeys(run.definition for run in runs))
    if apart:
        return [_group(f"{run.name}: {_title([run], definitions)}", [run]) for run in runs]
    together = [[run for run in runs if run.definition == definition] for definition in definitions]
    return [_group(_title(own, definitions), own) for own in together]


def _group(title: str, runs: Sequence[Finished]) -> Group:
    return Group(
        title,
        _together(runs),
        {method: kind for run in runs for method, kind in run.old_images.items()},
        pd.concat([run.sizes for run in runs]).groupby(["method", "seed"], as_index=False).first(),
    )


def _title(runs: Sequence[Finished], others: Sequence[Definition]) -> str:
    """Return the scenario, and whatever distinguishes the definition of these runs from the others'."""
    definition = runs[0].definition
    same_scenario = [other for other in others if other.scenario == definition.scenario]
    alike = [other for other in same_scenario if other.drawn == definition.drawn]
    title = f"{definition.scenario} classes"
    if definition.drawn:
        seeds = sorted({int(seed) for run in runs for seed in run.accuracy["seed"]})
        title += f", class order drawn from the seed ({', '.join(map(str, seeds))})"
    elif len(alike) < len(same_scenario):
        title += ", one class order"
    if len({other.order for other in alike}) > 1:
        title += f", classes of {runs[0].name}"
    if len({other.n_test for other in alike if other.order == definition.order}) > 1:
        title += f", {sum(definition.n_test):,} test images"
    return title


def _together(runs: Sequence[Finished]) -> pd.DataFrame:
    """Join the rows of several runs and drop duplicates, because runs may share trainings."""
    keys = ["method", "seed", "after_task", "eval_task"]
    rows = pd.concat([run.accuracy.assign(run=run.name) for run in runs], ignore_index=True)
    rows = rows.drop_duplicates([*keys, "n_correct"])
    twice = rows[rows.duplicated(keys, keep=False)]
    if not twice.empty:
        method, seed = twice.iloc[0]["method"], twice.iloc[0]["seed"]
        names = ", ".join(dict.fromkeys(twice["run"]))
        raise GeniferError(
            f"compare: {names} all have results of '{method}' with seed {seed}, and they differ, so their "
            f"settings do. Compare the runs side by side with --apart, or give '{method}' a label of its own "
            f"in one run file, such as methods: {{my-{method}: {{method: {method}}}}}"
        )
    return rows.drop(columns="run")


def compare(groups: Sequence[Group], reference: str) -> pd.DataFrame:
    """Summarise each method, and compare it with a reference over the seeds that both have.

    Args:
        reference: label of the method that the others are compared with.

    Returns:
        Columns scenario, those of `summarize`, means of `SIZES` over the seeds, n_pairs, and the mean
        difference in average incremental accuracy with its confidence interval by Student's t: difference,
        difference_low, difference_high.

    Raises:
        GeniferError: no run has the reference.
    """
    known = dict.fromkeys(str(method) for group in groups for method in group.accuracy["method"])
    if reference not in known:
        raise GeniferError(
            f"--reference: '{reference}' is in none of the runs; there are: {', '.join(known)}"
        )
    tables = []
    for group in groups:
        table = summarize(group.accuracy, group.old_images)
        sizes = group.sizes.groupby("method")[list(SIZES)].mean().reindex(table["method"])
        per_seed = average_incremental_accuracy(group.accuracy).pivot_table(
            index="seed", columns="method", values="accuracy"
        )
        differences = [_difference(per_seed, str(method), reference) for method in table["method"]]
        table.insert(0, "scenario", group.title)
        tables.append(pd.concat([table, sizes.reset_index(drop=True), pd.DataFrame(differences)], axis=1))
    return pd.concat(tables, ignore_index=True)


def _difference(per_seed: pd.DataFrame, method: str, reference: str) -> dict[str, float]:
    if reference not in per_seed or method not in per_seed or method == reference:
        return {"n_pairs": 0, "difference": float("nan"), **_interval(pd.Series(dtype=float))}
    pairs = (per_seed[method] - per_seed[reference]).dropna()
    return {"n_pairs": len(pairs), "difference": float(pairs.mean()), **_interval(pairs)}


def _interval(differences: pd.Series) -> dict[str, float]:
    """Return the confidence interval of the mean; empty for a single pair."""
    n = len(differences)
    if n < 2:
        return {"difference_low": float("nan"), "difference_high": float("nan")}
    half = student.ppf((1 + CONFIDENCE) / 2, n - 1) * float(differences.std(ddof=1)) / n**0.5
    mean = float(differences.mean())
    return {"difference_low": mean - half, "difference_high": mean + half}
