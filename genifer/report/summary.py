"""The table of methods of a run, for the terminal."""

from __future__ import annotations

from pathlib import Path

from genifer.errors import GeniferError
from genifer.evaluation import COLUMNS, SUMMARY_COLUMNS
from genifer.evaluation.tables import read_table, summary_text
from genifer.layout import RESULTS, plots_folder, table_path
from genifer.report.phrases import order_note


def finished_run(name: str, results: Path, table: str = "summary") -> Path:
    """Find a finished run.

    Args:
        name: of the run, or its folder.
        results: folder of all runs.
        table: that it must have.

    Returns:
        The run's folder.

    Raises:
        GeniferError: there is no such run, or it is not finished.
    """
    for folder in (Path(name), results / name):
        if Path(table_path(folder, table)).is_file():
            return folder
    finished = sorted(path.parent.name for path in results.glob(table_path("*", table)))
    raise GeniferError(
        f"'{name}': no finished run of this name in {results}; "
        + (f"there are: {', '.join(finished)}" if finished else "make one with snakemake")
    )


def summary_screen(results: Path) -> str:
    """Return the table of methods of a finished run and the paths of its tables and plots.

    Args:
        results: the run's folder.

    Raises:
        GeniferError: a table is missing or cannot be read.
    """
    table = table_path(results, "summary")
    text = summary_text(read_table(Path(table), SUMMARY_COLUMNS))
    note = order_note(read_table(Path(table_path(results, "accuracy")), COLUMNS))
    return "\n".join(
        [
            text,
            "(accuracies in %)",
            *([note] if note else []),
            "",
            f"plot    {plots_folder(results)}/accuracy.png",
            f"tables  {table}, {table_path(results, 'accuracy')}",
            f"report  genifer report {results.name if results.parent == RESULTS else results}",
        ]
    )
