"""Tables in the documents that show recorded results: docs/measured/<run>/ has a run's own tables.

In a document ``<!-- measured: KIND of RUN -->`` stands before such a table.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from genifer.evaluation import METRIC_NAMES
from genifer.evaluation.tables import incremental_accuracy, with_deviation
from genifer.report.comparison import comparison_rows
from support.commands import ROOT

MEASURED = ROOT / "docs" / "measured"
MARK = "<!-- measured:"
TABLE = re.compile(r"(?<=<!-- measured: )(\w+) of ([\w.-]+) -->\n+((?:\|.*\n)*)\n*")


def with_current_tables(text: str) -> str:
    """A document with its tables of recorded results made anew."""
    return TABLE.sub(lambda found: f"{found[1]} of {found[2]} -->\n\n{table(found[1], found[2])}\n", text)


def table(kind: str, run: str) -> str:
    """One table: ``summary``, ``brief``, ``budget``, ``tasks``, ``replay``, ``comparison``, ``ranking``,
    ``bounds``, ``as_published``, or ``claims`` (of ``comparisons``, which are all of them)."""
    folder = MEASURED / run
    kinds = {
        "summary": _summary,
        "brief": _brief,
        "budget": _budget,
        "tasks": _tasks,
        "replay": _replay,
        "comparison": _comparison,
        "ranking": _ranking,
        "bounds": _bounds,
        "as_published": _as_published,
        "claims": _claims,
    }
    rows = kinds[kind](folder)
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _summary(folder: Path, names: tuple[str, ...] = tuple(METRIC_NAMES)) -> list[list[str]]:
    """All metrics of each method in %, and the minutes of its trainings per seed."""
    summary, minutes = pd.read_csv(folder / "summary.csv"), _minutes(folder)
    rows = [["method", *(METRIC_NAMES[name] for name in names), "minutes"]]
    for row in summary.to_dict("records"):
        metrics = [with_deviation(row[f"{name}_mean"], row[f"{name}_std"]) for name in names]
        rows.append([str(row["method"]), *metrics, f"{minutes[str(row['method'])]:.0f}"])
    return rows


def _brief(folder: Path) -> list[list[str]]:
    """The metrics that say most."""
    return _summary(folder, ("average_incremental_accuracy", "final_accuracy"))


def _budget(folder: Path) -> list[list[str]]:
    """Average incremental accuracy in %, GAN steps and minutes of each method, from the least steps up."""
    steps = pd.read_csv(folder / "budget.csv").groupby("method")["gan_steps"].mean()
    header, *rows = _summary(folder, ("average_incremental_accuracy",))
    rows.sort(key=lambda row: (steps[row[0]], float(row[-1])))
    table = [[row[0], f"{steps[row[0]]:,.0f}", row[1], row[2]] for row in rows]
    return [[header[0], "GAN steps", *header[1:]], *table]


def _tasks(folder: Path) -> list[list[str]]:
    """Accuracy in % on all classes so far, after each task."""
    steps = incremental_accuracy(pd.read_csv(folder / "accuracy.csv"))
    rows = [["method", *(f"{count} classes" for count in steps["classes_seen"].unique())]]
    for method, own in steps.groupby("method", sort=False):
        of_task = own.groupby("after_task")["accuracy"].agg(["mean", "std"])
        rows.append([str(method), *(with_deviation(*statistics) for statistics in of_task.to_numpy())])
    return rows


def _replay(folder: Path) -> list[list[str]]:
    """Quality of each GAN's samples of the classes of each task, shares in %: means over seeds and classes."""
    table = pd.read_csv(folder / "replay.csv").groupby(["after_task", "eval_task"]).mean(numeric_only=True)
    header = "GAN of task | classes of task | agreement | held out | judge | held out | coverage | Fréchet | held out"
    rows = [header.split(" | ")]
    for (gan, task), row in table.iterrows():  # type: ignore[misc]
        shares = [
            f"{100 * row[name]:.0f}"
            for name in (
                "agreement",
                "agreement_of_held_out",
                "judge_agreement",
                "judge_agreement_of_held_out",
                "coverage",
            )
        ]
        rows.append(
            [str(gan), str(task), *shares, f"{row['frechet']:.2f}", f"{row['frechet_of_held_out']:.2f}"]
        )
    return rows


def _comparison(folder: Path) -> list[list[str]]:
    """What `genifer compare` wrote of one run, best method first; without the average with the first task
    and columns that are empty."""
    table = pd.read_csv(folder / "comparison.csv")
    table = table.sort_values("average_incremental_accuracy_mean", ascending=False, kind="stable")
    header, *rows = comparison_rows(table, "genifer")
    shown = [
        column
        for column, name in enumerate(header)
        if name != "with first task" and any(row[column] for row in rows)
    ]
    return [[row[column] for column in shown] for row in (header, *rows)]


def _ranking(folder: Path) -> list[list[str]]:
    """The metrics that say most of what `genifer compare` wrote, best method first."""
    header, *rows = _comparison(folder)
    shown = [header.index(name) for name in ("method", "average incremental", "final")]
    return [[row[column] for column in shown] for row in (header, *rows)]


def _bounds(folder: Path) -> list[list[str]]:
    """Accuracies of genifer and its bounds, from what `genifer compare` wrote."""
    header, *rows = comparison_rows(pd.read_csv(folder / "comparison.csv"), "genifer")
    names = ("method", "average incremental", "with first task", "final", "forgetting")
    shown = [header.index(name) for name in names]
    bounds = [row for row in rows if row[0] in ("genifer", "finetune", "joint")]
    return [[row[column] for column in shown] for row in (header, *bounds)]


def _as_published(folder: Path) -> list[list[str]]:
    """The metrics of the tables of published figures, lowest first as there, from what `genifer compare` wrote."""
    names = ("average_incremental_accuracy_with_first_task", "final_accuracy")
    table = pd.read_csv(folder / "comparison.csv").sort_values(f"{names[0]}_mean", kind="stable")
    rows = [["method", *(METRIC_NAMES[name] for name in names)]]
    for row in table.to_dict("records"):
        metrics = [with_deviation(row[f"{name}_mean"], row[f"{name}_std"]) for name in names]
        rows.append([str(row["method"]), *metrics])
    return rows


def _claims(folder: Path) -> list[list[str]]:
    """By how many points one method of a pair is ahead of the other in each comparison, which its paper says it is."""
    comparisons = {
        "digits": "digits-comparison",
        "CIFAR-10": "cifar10-comparison",
        "100 classes of ImageNet": "imagenet100-comparison",
    }
    pairs = [("fetril", "ncm"), ("fecam", "ncm"), ("acil", "ncm"), ("exemplars", "lwf"), ("lwf", "finetune")]
    rows = [["ahead of", *comparisons]]
    averages = []
    for name in comparisons.values():
        table = pd.read_csv(folder.parent / name / "comparison.csv").set_index("method")
        averages.append(100 * table["average_incremental_accuracy_mean"])
    for method, other in pairs:
        rows.append([f"{method}, {other}", *(f"{own[method] - own[other]:+.1f}" for own in averages)])
    best = [own.drop("joint") for own in averages]
    ahead = [f"{own['joint'] - others.max():+.1f}" for own, others in zip(averages, best, strict=True)]
    return [*rows, ["joint, the best of the others", *ahead]]


def _minutes(folder: Path) -> dict[str, float]:
    budget = pd.read_csv(folder / "budget.csv")
    return {str(method): float(own["minutes"].mean()) for method, own in budget.groupby("method")}
