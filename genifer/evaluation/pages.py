"""The tables of a run as HTML pages, for its report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from genifer.evaluation.costs import span, stages_of
from genifer.evaluation.tables import METRICS, forgetting_of_classes, incremental_accuracy, read_table
from genifer.runtime.files import whole_file

PAGE = """<!doctype html>
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
</body></html>
"""


def write_tables(results: Path, output: Path) -> None:
    """A page for each table of `PAGES`; one whose CSV file is missing or has no rows has no page.

    Args:
        results: folder of a run.
    """
    for name, (source, title, table) in PAGES.items():
        read = read_table(results / source) if (results / source).is_file() else None
        if read is not None and not read.empty:
            rows = table(read)
            page = PAGE.format(title=title, table=rows.to_html(index=False, border=0, na_rep=""))
            with whole_file(output / f"{name}.html") as temporary:
                temporary.write_text(page, encoding="utf-8")


def _summary(summary: pd.DataFrame) -> pd.DataFrame:
    table = {"method": summary["method"], "seeds": summary["n_seeds"]}
    for name in METRICS:
        means, deviations = 100 * summary[f"{name}_mean"], 100 * summary[f"{name}_std"]
        cells = [
            "" if pd.isna(mean) else f"{mean:.1f}" if pd.isna(std) else f"{mean:.1f} ± {std:.1f}"
            for mean, std in zip(means, deviations, strict=True)
        ]
        table[name.replace("_", " ")] = pd.Series(cells)
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
    columns = ["method", "class_name", "eval_task", "best", "final", "forgetting"]
    names = {"class_name": "class", "eval_task": "task", "best": "at its best", "final": "in the end"}
    return _rounded(table[columns].rename(columns=names))


def _replay(replay: pd.DataFrame) -> pd.DataFrame:
    keys = ["after_task", "eval_task", "label", "class_name"]
    values = ["agreement", "frechet", "frechet_of_held_out", "nearest", "nearest_of_held_out"]
    table = replay.groupby(keys, sort=False)[values].mean().reset_index()
    table["agreement"] = (100 * table["agreement"]).map("{:.0f} %".format)
    for name in values[1:]:
        table[name] = table[name].map("{:.3g}".format, na_action="ignore")
    names = {
        "after_task": "GAN of task",
        "class_name": "class",
        "eval_task": "task of class",
        "frechet": "Fréchet distance",
        "frechet_of_held_out": "of held-out images",
        "nearest": "grey levels to nearest training image",
        "nearest_of_held_out": "of held-out images ",
    }
    return table.drop(columns="label").rename(columns=names)


def _costs(costs: pd.DataFrame) -> pd.DataFrame:
    table = stages_of(costs)
    machines = costs.dropna(subset=["machine"])
    table["time"] = table["seconds"].map(span)
    table["a job"] = (table["seconds"] / table["jobs"]).map(span)
    table["peak memory"] = (table["memory_mb"] / 1024).map("{:.1f} GB".format, na_action="ignore")
    table["on"] = table["device"].map({"cpu": "CPU", "cuda": "GPU"})
    total = {"label": "all", "jobs": len(costs), "time": span(costs["seconds"].sum())}
    total["on"] = ", ".join(dict.fromkeys(machines["machine"]))
    columns = ["label", "jobs", "time", "a job", "peak memory", "on"]
    return pd.concat([table, pd.DataFrame([total])])[columns].rename(columns={"label": "stage"})


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    for name in table.select_dtypes("float"):
        table[name] = table[name].map("{:.1f}".format, na_action="ignore")
    return table


PAGES: dict[str, tuple[str, str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "summary": ("summary.csv", "Methods (accuracies in %)", _summary),
    "accuracy": ("accuracy.csv", "Accuracy on all classes so far (%)", _accuracy),
    "forgotten_classes": ("confusion.csv", "Accuracy on each class, worst first (%)", _forgotten_classes),
    "replay": ("replay.csv", "Replay of each class", _replay),
    "costs": ("costs.csv", "Time and memory", _costs),
}
"""Of each page the CSV file, the title, and how it becomes the table that is shown."""
