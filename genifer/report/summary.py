"""A run's table of methods, in the terminal."""

from __future__ import annotations

from pathlib import Path

import typer

from genifer.evaluation import COLUMNS, SUMMARY_COLUMNS
from genifer.evaluation.tables import read_table, summary_text
from genifer.layout import plots_folder, table_path
from genifer.report.phrases import order_note


def print_summary(results: Path) -> None:
    """Print the summary of a run, and where its tables and plots are.

    Args:
        results: the run's folder.
    """
    table = table_path(results, "summary")
    typer.echo(f"{summary_text(read_table(Path(table), SUMMARY_COLUMNS))}\n(accuracies in %)")
    note = order_note(read_table(Path(table_path(results, "accuracy")), COLUMNS))
    typer.echo(f"{note}\n" if note else "")
    typer.echo(f"tables  {table_path(results, 'accuracy')}, {table}\nplots   {plots_folder(results)}/")
