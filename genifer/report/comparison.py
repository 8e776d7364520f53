"""Write the comparison of runs: CSV, Markdown, LaTeX, and figures for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from genifer.config import PlotSettings
from genifer.evaluation import METRIC_NAMES, ORDER_COLUMN
from genifer.evaluation.comparison import Group, compare, groups_of, read_runs
from genifer.evaluation.tables import with_deviation, write_table
from genifer.report.averages import averages_figure, label_of, old_images_note
from genifer.report.plots import legend_below, wrapped
from genifer.report.plots.accuracy import draw_accuracy, top_of
from genifer.report.style import COLUMN, PAGE, method_colors, method_markers, save, set_style
from genifer.runtime.files import atomic_write

PAPER = PlotSettings(medium="paper")

FORMATS = ("pdf", "svg")

SIZE_NAMES = {"minutes": "minutes", "stored_mb": "stored MB"}
"""The sizes shown in the tables, with their column headings."""


def write_comparison(runs: Sequence[Path], reference: str, output: Path, *, apart: bool = False) -> str:
    """Compare finished runs; write comparison.csv, .md, .tex, .pdf and .svg, and averages.pdf and .svg.

    Args:
        runs: folders of the runs.
        reference: label of the method that the others are compared with.
        output: folder of the files.
        apart: make every run a group of its own, even if definitions agree.

    Returns:
        The table as Markdown.

    Raises:
        GeniferError: a run's tables are missing or damaged, or the runs cannot be compared.
    """
    groups = groups_of(read_runs(runs), apart=apart)
    table = compare(groups, reference)
    output.mkdir(parents=True, exist_ok=True)
    write_table(table, output / "comparison.csv", "%.6f")
    notes = [note for group in groups for note in group.notes]
    markdown, latex = _markdown(table, reference, notes), _latex(table, reference, notes)
    for suffix, text in (("md", markdown), ("tex", latex)):
        with atomic_write(output / f"comparison.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    for name, figure in (("comparison", comparison_figure(groups)), ("averages", averages_figure(groups))):
        save(figure, output / name, PAPER, FORMATS)
    return markdown


def comparison_rows(table: pd.DataFrame, reference: str) -> list[list[str]]:
    """Format the cells of a comparison without the scenario; accuracies are in per cent.

    Args:
        table: as returned by `compare`.
        reference: label of the method that the others are compared with.

    Returns:
        The header, and one row per method.
    """
    difference = f"difference from {reference}"
    rows = [["method", "seeds", "old images", *METRIC_NAMES.values(), *SIZE_NAMES.values(), difference]]
    for row in table.to_dict("records"):
        metrics = [with_deviation(row[f"{name}_mean"], row[f"{name}_std"]) for name in METRIC_NAMES]
        sizes = ["" if pd.isna(row[name]) else f"{row[name]:.1f}" for name in SIZE_NAMES]
        old_images = "" if pd.isna(row["old_images"]) else str(row["old_images"])
        rows.append([str(row["method"]), str(row["n_seeds"]), old_images, *metrics, *sizes, _difference(row)])
    return rows


def _difference(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["difference"]):
        return ""
    text = f"{100 * row['difference']:+.1f}"
    if pd.isna(row["difference_low"]):
        return text
    return f"{text} ({100 * row['difference_low']:+.1f} to {100 * row['difference_high']:+.1f})"


def _markdown(table: pd.DataFrame, reference: str, notes: Sequence[str]) -> str:
    parts = []
    for scenario, of_scenario in table.groupby("scenario", sort=False):
        header, *body = comparison_rows(of_scenario, reference)
        lines = [header, ["---"] * len(header), *body]
        parts.append(f"{scenario}:\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    return "\n".join(parts) + f"\n{_note(table, notes)}\n"


def _note(table: pd.DataFrame, notes: Sequence[str]) -> str:
    note = "Accuracies in %, mean +- standard deviation over seeds."
    if table[list(SIZE_NAMES)].notna().any(axis=None):
        note += " Minutes of all trainings and MB kept between tasks, per seed."
    if table["difference_low"].notna().any():
        note += (
            " Differences in average incremental accuracy, paired by seed, with 95 % confidence intervals."
        )
    orders = list(dict.fromkeys(table[ORDER_COLUMN].replace("", pd.NA).dropna()))
    if orders:
        note += f" Class order: {', '.join(orders)}."
    return " ".join([note, *notes])


def _latex(table: pd.DataFrame, reference: str, notes: Sequence[str]) -> str:
    def text(cell: str) -> str:
        escaped = cell.replace("\\", r"\textbackslash ")
        for character in "&%$#_{}":
            escaped = escaped.replace(character, f"\\{character}")
        return escaped.replace("+-", r"$\pm$")

    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lrl" + "r" * (1 + len(METRIC_NAMES) + len(SIZE_NAMES)) + "}",
    ]
    lines.append(r"\toprule")
    for index, (scenario, of_scenario) in enumerate(table.groupby("scenario", sort=False)):
        header, *body = comparison_rows(of_scenario, reference)
        if index == 0:
            lines += [" & ".join(map(text, header)) + r" \\"]
        lines += [r"\midrule", rf"\multicolumn{{{len(header)}}}{{l}}{{{text(str(scenario))}}} \\"]
        lines += [" & ".join(map(text, row)) + r" \\" for row in body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"% {_note(table, notes)}"]) + "\n"


def _entry(method: str, groups: Sequence[Group]) -> str:
    """Return a method's entry in the legend, with the number of seeds, or their range over the panels."""
    rows = [group.accuracy[group.accuracy["method"] == method] for group in groups]
    counts = sorted({own["seed"].nunique() for own in rows if not own.empty})
    uses_old = any(group.uses_old_images(method) for group in groups)
    return label_of(method, counts, uses_old_images=uses_old)


def comparison_figure(groups: Sequence[Group]) -> Figure:
    """Draw accuracy as classes are learned, one panel per group; the legend gives the numbers of seeds."""
    set_style(PAPER)
    plt.rcParams["svg.fonttype"] = "path"  # keep text as paths, because viewers may lack the fonts
    accuracy = pd.concat([group.accuracy for group in groups])
    colors, markers = method_colors(accuracy["method"], PAPER), method_markers(accuracy["method"])
    columns = min(len(groups), 3)
    rows = -(-len(groups) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(COLUMN if columns == 1 else PAGE, 2.3 * rows),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    top = top_of(accuracy)
    for axes, group in zip(grid.flat, groups, strict=False):
        draw_accuracy(axes, group.accuracy, colors, markers, top)
        title = wrapped(group.title, figure.get_figwidth() / columns)
        axes.set(title=title, xlabel="classes so far")
    for axes in grid.flat[len(groups) :]:
        axes.set_axis_off()
    grid[0, 0].set_ylabel("accuracy (%)")
    handles = [
        Line2D([], [], color=color, marker=markers[method], label=_entry(method, groups))
        for method, color in colors.items()
    ]
    legend_below(figure, handles)
    figure.legends[0].set_title(old_images_note(groups))
    return figure
