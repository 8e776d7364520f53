"""The tables of a run as HTML pages, for its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from genifer.errors import GeniferError
from genifer.evaluation import (
    COLUMNS,
    CONFUSION_COLUMNS,
    COST_COLUMNS,
    METRICS,
    REPLAY_COLUMNS,
    SUMMARY_COLUMNS,
)
from genifer.evaluation.costs import cost_by_job
from genifer.evaluation.tables import (
    forgetting_of_classes,
    has_one_order,
    incremental_accuracy,
    read_table,
    with_deviation,
)
from genifer.layout import table_path
from genifer.report.phrases import device_name, old_images_note, order_note
from genifer.runtime.durations import span
from genifer.runtime.files import atomic_write

HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #1f2937; margin: 2rem; }}
h1 {{ font-size: 1.2rem; font-weight: 600; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.3rem 0.8rem; text-align: right; border-bottom: 1px solid #e5e7eb; }}
td {{ white-space: nowrap; }}
th {{ position: sticky; top: 0; background: white; font-weight: 600; }}
th {{ max-width: 8rem; vertical-align: bottom; }}
th:first-child, td:first-child {{ text-align: left; }}
</style></head><body><h1>{title}</h1>
{table}
{note}</body></html>
"""

METRIC_HEADINGS = {
    "average_incremental_accuracy": "average incremental accuracy, without the first task",
    "average_incremental_accuracy_with_first_task": "average incremental accuracy, with the first task",
}


@dataclass(frozen=True)
class Page:
    """A table of the report.

    Attributes:
        source, columns: name of a CSV table of the run, and its required columns.
        table: function that makes the table to show.
        compares_methods: whether to add a note on which methods use images of old tasks.
    """

    source: str
    columns: Sequence[str]
    title: str
    table: Callable[[pd.DataFrame], pd.DataFrame]
    compares_methods: bool = True


def write_tables(results: Path, tables: Sequence[str], output: Path) -> None:
    """Write tables of a run as HTML pages.

    Args:
        results: the run's folder.
        tables: names in `PAGES`.
        output: folder of the pages, ``<table>.html``.

    Raises:
        GeniferError: a name is unknown, or a CSV file cannot be read.
    """
    note = ""
    for name in tables:
        if name not in PAGES:
            raise GeniferError(f"there is no table '{name}'; choose from {', '.join(PAGES)}")
        page = PAGES[name]
        if page.compares_methods and not note:
            summary = read_table(Path(table_path(results, "summary")), SUMMARY_COLUMNS, needs_rows=True)
            old_images = dict(zip(summary["method"], summary["old_images"], strict=True))
            accuracy = read_table(Path(table_path(results, "accuracy")), COLUMNS, needs_rows=True)
            notes = [old_images_note(old_images), order_note(accuracy)]
            note = "".join(f"<p>{escape(text)}</p>\n" for text in notes if text)
        read = read_table(
            Path(table_path(results, page.source)), page.columns, needs_rows=page.compares_methods
        )
        table = page.table(read)
        html = HTML.format(
            title=page.title,
            table=table.to_html(index=False, border=0, na_rep=""),
            note=note if page.compares_methods else "",
        )
        with atomic_write(output / f"{name}.html") as temporary:
            temporary.write_text(html, encoding="utf-8")


def _summary(summary: pd.DataFrame) -> pd.DataFrame:
    table = {
        "method": summary["method"],
        "seeds": summary["n_seeds"],
        "old images": summary["old_images"],
    }
    for name in METRICS:
        pairs = zip(summary[f"{name}_mean"], summary[f"{name}_std"], strict=True)
        heading = METRIC_HEADINGS.get(name, name.replace("_", " "))
        table[heading] = pd.Series([with_deviation(mean, std, "±") for mean, std in pairs], dtype=object)
    return pd.DataFrame(table)


def _accuracy(accuracy: pd.DataFrame) -> pd.DataFrame:
    steps = incremental_accuracy(accuracy)
    table = 100 * steps.pivot_table(
        index="method", columns="classes_seen", values="accuracy", aggfunc="mean", sort=False
    )
    table.columns = [f"{classes} classes" for classes in table.columns]
    return _rounded(table.reset_index())


def _forgotten_classes(confusion: pd.DataFrame) -> pd.DataFrame:
    tables = [forgetting_of_classes(of_method) for _, of_method in confusion.groupby("method", sort=False)]
    table = pd.concat(tables)
    for name in ("best", "final", "forgetting"):
        table[name] = 100 * table[name]
    where = "eval_task" if "eval_task" in table else "n_seeds"
    columns = ["method", "class_name", where, "best", "final", "forgetting"]
    names = {
        "class_name": "class",
        "eval_task": "task",
        "n_seeds": "seeds",
        "best": "best earlier accuracy",
        "final": "final accuracy",
    }
    return _rounded(table[columns].rename(columns=names))


def _replay(replay: pd.DataFrame) -> pd.DataFrame:
    # With a class order per seed, a class has no task and no label.
    of_class = ["eval_task", "label"] if has_one_order(replay) else []
    keys = ["method", "after_task", *of_class, "class_name"]
    shares = ["agreement", "agreement_of_held_out", "judge_agreement", "judge_agreement_of_held_out"]
    shares.append("coverage")
    distances = ["frechet", "frechet_of_held_out", "nearest", "nearest_of_held_out"]
    table = replay.groupby(keys, sort=False)[shares + distances].mean().reset_index()
    for name in shares:
        table[name] = (100 * table[name]).map("{:.0f} %".format, na_action="ignore")
    for name in distances:
        table[name] = table[name].map("{:.3g}".format, na_action="ignore")
    names = {
        "after_task": "GAN of task",
        "eval_task": "task of class",
        "class_name": "class",
        "agreement_of_held_out": "agreement on held-out images",
        "judge_agreement": "agreement by the joint classifier",
        "judge_agreement_of_held_out": "the same on held-out images",
        "frechet": "Fréchet distance",
        "frechet_of_held_out": "Fréchet distance of held-out images",
        "nearest": "distance to nearest training image (grey levels)",
        "nearest_of_held_out": "that of held-out images (grey levels)",
    }
    return table.drop(columns=of_class[1:]).rename(columns=names)


def _costs(costs: pd.DataFrame) -> pd.DataFrame:
    table = cost_by_job(costs)
    machines = costs.dropna(subset=["machine"])
    table["time"] = table["seconds"].map(span)
    table["time per job"] = (table["seconds"] / table["jobs"]).map(span)
    table["peak memory"] = (table["memory_mb"] / 1024).map("{:.1f} GB".format, na_action="ignore")
    table["device"] = table["device"].map(device_name)
    total = {"label": "all", "jobs": len(costs), "time": span(costs["seconds"].sum())}
    total["device"] = ", ".join(dict.fromkeys(machines["machine"]))
    columns = ["label", "jobs", "time", "time per job", "peak memory", "device"]
    return pd.concat([table, pd.DataFrame([total])])[columns].rename(columns={"label": "job"})


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    for name in table.select_dtypes("float"):
        table[name] = table[name].map("{:.1f}".format, na_action="ignore")
    return table


PAGES = {
    "summary": Page("summary", SUMMARY_COLUMNS, "Methods (accuracies in %)", _summary),
    "accuracy": Page("accuracy", COLUMNS, "Accuracy on all classes so far (%)", _accuracy),
    "forgotten_classes": Page(
        "confusion", CONFUSION_COLUMNS, "Accuracy on each class, worst first (%)", _forgotten_classes
    ),
    "replay": Page("replay", REPLAY_COLUMNS, "Replay of each class", _replay, compares_methods=False),
    "costs": Page("costs", COST_COLUMNS, "Time and memory", _costs, compares_methods=False),
}
"""The tables of the report, by name."""
