"""Comparison of methods across runs: means over seeds, and differences between paired seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from scipy.stats import t as student

from genifer.errors import GeniferError
from genifer.evaluation import COLUMNS, ORDER_COLUMN, SETTINGS_COLUMNS, SIZES
from genifer.evaluation.tables import average_incremental_accuracy, order_is_drawn, read_table, summarize
from genifer.layout import table_path
from genifer.task_sizes import tasks_text

CONFIDENCE = 0.95

OF_THE_RUN = ("scenario.class_order", "scenario.tasks")
"""Settings that tables of accuracies show in another way: the order by the names of the classes."""


@dataclass(frozen=True)
class Definition:
    """What must agree before accuracies may be averaged or compared.

    Attributes:
        tasks: number of new classes in each task.
        order: names of all classes in the order in which they are learned; sorted if the order is drawn.
        n_test: number of test images of each task; of all tasks together if the order is drawn.
        first: the run's first task, after which accuracies are measured.
        drawn: whether the class order is drawn from the seed, so that each seed has its own.
        settings: names and values of the settings of the data and of the split; None for runs of earlier
            versions, which did not record them and agree with any.
    """

    tasks: tuple[int, ...]
    order: tuple[str, ...]
    n_test: tuple[int, ...]
    first: int = 0
    drawn: bool = False
    settings: tuple[tuple[str, str], ...] | None = None

    @property
    def scenario(self) -> str:
        """The tasks in the notation of papers, such as 50 + 5 x 10."""
        return tasks_text(self.tasks)

    def agrees_with(self, other: Definition) -> bool:
        """Whether accuracies of both may be averaged."""
        unknown = self.settings is None or other.settings is None
        return replace(self, settings=None) == replace(other, settings=None) and (
            unknown or self.settings == other.settings
        )


@dataclass(frozen=True)
class Finished:
    """The accuracies of a finished run and their definition.

    Attributes:
        old_images: none, all or exemplars for each method.
        sizes: columns method, seed and `SIZES`; values that the run's budget.csv lacks are empty.
        settings: settings on which the accuracies of each method depend; None for runs of earlier versions.
    """

    name: str
    definition: Definition
    accuracy: pd.DataFrame
    old_images: Mapping[str, str]
    sizes: pd.DataFrame
    settings: Mapping[str, Mapping[str, str]] | None = None

    @property
    def class_order(self) -> str:
        """As in accuracy.csv; empty for runs of earlier versions."""
        return str(self.accuracy[ORDER_COLUMN].iloc[0]) if ORDER_COLUMN in self.accuracy else ""


@dataclass(frozen=True)
class Group:
    """The accuracies of all runs with one definition.

    Attributes:
        title: the scenario, and whatever else distinguishes the definition from those of other groups.
        accuracy: as in accuracy.csv.
        old_images, sizes: as in `Finished`.
        class_order: as in accuracy.csv; empty if no run has recorded it.
        notes: sentences on what was left out or could not be checked.
    """

    title: str
    accuracy: pd.DataFrame
    old_images: Mapping[str, str]
    sizes: pd.DataFrame
    class_order: str = ""
    notes: Sequence[str] = ()

    def uses_old_images(self, method: str) -> bool:
        """Whether a method's trainings use stored images of old tasks; False if that is not known."""
        return self.old_images.get(method, "none") != "none"


def read_runs(folders: Sequence[Path]) -> list[Finished]:
    """Read the tables of finished runs; runs of one name (on two machines) get their paths.

    Raises:
        GeniferError: a table is missing or damaged.
    """
    runs = [read_run(folder) for folder in folders]
    names = [run.name for run in runs]
    return [
        replace(run, name=str(folder)) if names.count(run.name) > 1 else run
        for run, folder in zip(runs, folders, strict=True)
    ]


def read_run(folder: Path) -> Finished:
    """Read the tables of a finished run.

    Raises:
        GeniferError: a table is missing or damaged.
    """
    accuracy = read_table(Path(table_path(folder, "accuracy")), COLUMNS, needs_rows=True)
    confusion = read_table(Path(table_path(folder, "confusion")), ["label", "class_name"], needs_rows=True)
    settings = _settings(folder, accuracy["method"])
    tasks = accuracy.drop_duplicates("eval_task").sort_values("eval_task")
    classes = confusion.drop_duplicates("label").sort_values("label")
    drawn = order_is_drawn(accuracy)
    n_test = tuple(map(int, tasks["n_test"]))
    definition = Definition(
        tasks=tuple(map(int, tasks["n_classes"])),
        order=tuple(sorted(set(confusion["class_name"])) if drawn else classes["class_name"]),
        n_test=(sum(n_test),) if drawn else n_test,
        first=int(accuracy["after_task"].min()),
        drawn=drawn,
        settings=None if settings is None else _settings_of_data(next(iter(settings.values()))),
    )
    return Finished(folder.name, definition, accuracy, _old_images(folder), _sizes(folder), settings)


def _settings(folder: Path, methods: Iterable[str]) -> dict[str, dict[str, str]] | None:
    """Read the settings of each method from settings.csv; None if there is no such file."""
    path = Path(table_path(folder, "settings"))
    if not path.is_file():
        return None
    table = read_table(path, SETTINGS_COLUMNS, needs_rows=True).fillna("")
    of = {
        label: dict(zip(rows["setting"], rows["setting_value"], strict=True))
        for label, rows in table.groupby("method")
    }
    return {method: of.get("", {}) | of.get(method, {}) for method in dict.fromkeys(methods)}


def _settings_of_data(settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Select the settings that are part of the definition and that the tables of accuracies do not show."""
    return tuple(
        (name, value)
        for name, value in sorted(settings.items())
        if name.startswith("data.") or name == "evaluation.split"
    )


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
        GeniferError: two runs of a group have other settings, or results of unknown settings that differ, for
            methods with the same label.
    """
    together: list[list[Finished]] = []
    for run in runs:
        agreeing = [
            own for own in together if all(run.definition.agrees_with(other.definition) for other in own)
        ]
        if agreeing and not apart:
            agreeing[0].append(run)
        else:
            together.append([run])
    definitions = list(dict.fromkeys(_definition(own) for own in together))
    return [_group(f"{own[0].name}: " if apart else "", own, definitions) for own in together]


def _definition(runs: Sequence[Finished]) -> Definition:
    """Return the definition of runs that agree, with the settings if one of them has recorded them."""
    known = [run.definition for run in runs if run.definition.settings is not None]
    return [*known, runs[0].definition][0]


def _group(prefix: str, runs: Sequence[Finished], definitions: Sequence[Definition]) -> Group:
    _check_settings(runs)
    accuracy, notes = _together(runs)
    return Group(
        prefix + _title(runs, definitions),
        accuracy,
        {method: kind for run in runs for method, kind in run.old_images.items()},
        pd.concat([run.sizes for run in runs]).groupby(["method", "seed"], as_index=False).first(),
        ", ".join(dict.fromkeys(run.class_order for run in runs if run.class_order)),
        notes,
    )


def _title(runs: Sequence[Finished], others: Sequence[Definition]) -> str:
    """Return the scenario, and whatever distinguishes the definition of these runs from the others'."""
    definition = _definition(runs)
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
    if len({other.first for other in alike}) > 1:
        title += f", from task {definition.first} on"
    if len({other.n_test for other in alike if other.order == definition.order}) > 1:
        title += f", {sum(definition.n_test):,} test images"
    own = dict(definition.settings or ())
    for name, value in own.items():
        if len({dict(other.settings or own).get(name) for other in alike}) > 1:
            title += f", {name} {value}"
    return title


def _check_settings(runs: Sequence[Finished]) -> None:
    """Check that methods with the same label have the same settings in all runs that recorded them."""
    first: dict[str, Finished] = {}
    for run in runs:
        for method, settings in (run.settings or {}).items():
            other = first.setdefault(method, run)
            theirs = (other.settings or {})[method]
            differing = [
                name
                for name in dict.fromkeys([*theirs, *settings])
                if theirs.get(name) != settings.get(name) and name not in OF_THE_RUN
            ]
            if differing:
                name = differing[0]
                more = f", and {len(differing) - 1} more settings differ" if len(differing) > 1 else ""
                raise GeniferError(
                    f"compare: '{method}' has other settings in {run.name} than in {other.name}: {name} is "
                    f"{settings.get(name, 'not used')} instead of {theirs.get(name, 'not used')}{more}. "
                    f"{_instead(method)}"
                )


def _instead(method: str) -> str:
    return (
        f"Compare the runs side by side with --apart, or give '{method}' a label of its own "
        f"in one run file, such as methods: {{my-{method}: {{method: {method}}}}}"
    )


def _together(runs: Sequence[Finished]) -> tuple[pd.DataFrame, list[str]]:
    """Join the accuracies of several runs; each method and seed counts once, as in the first run that has it.

    Returns:
        The rows, and a sentence for each method whose results were left out.

    Raises:
        GeniferError: results differ, and it is not known whether settings do.
    """
    keys, of = ["method", "seed", "after_task", "eval_task"], ["method", "seed"]
    rows = pd.concat([run.accuracy.assign(run=run.name, source=place) for place, run in enumerate(runs)])
    rows["first"] = rows.groupby(of)["source"].transform("min")
    unequal = rows[rows.groupby(keys)["n_correct"].transform("nunique") > 1]
    notes = []
    for method, own in unequal.groupby("method", sort=False):
        used, *others = dict.fromkeys(own["run"])
        if any(run.settings is None for run in runs if run.name in (used, *others)):
            raise GeniferError(
                f"compare: {', '.join((used, *others))} all have results of '{method}' with seed "
                f"{own['seed'].iloc[0]}, and they differ; a run of an earlier version has no settings.csv "
                f"to tell whether the settings do. {_instead(str(method))}"
            )
        notes.append(
            f"{method}: results of the same seeds in {', '.join(others)} differ, with the same settings, as "
            f"they may between machines and versions; those of {used} are used."
        )
    kept = rows[rows["source"] == rows["first"]].drop_duplicates(keys)
    return kept.drop(columns=["run", "source", "first"]).reset_index(drop=True), notes


def compare(groups: Sequence[Group], reference: str) -> pd.DataFrame:
    """Summarise each method, and compare it with a reference over the seeds that both have.

    Args:
        reference: label of the method that the others are compared with.

    Returns:
        Columns scenario, class_order, those of `summarize` and old_images, means of `SIZES` over the seeds,
        n_pairs, and the mean difference in average incremental accuracy with its confidence interval by
        Student's t: difference, difference_low, difference_high.

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
        table.insert(1, ORDER_COLUMN, group.class_order)
        table.insert(4, "old_images", [group.old_images.get(str(method), "") for method in table["method"]])
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
