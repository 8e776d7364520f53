"""Published accuracies, to be drawn beside a run's own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from genifer.errors import GeniferError

PUBLISHED_COLUMNS = ["source", "method", "classes_seen", "accuracy"]


def read_published(path: Path) -> pd.DataFrame:
    """A CSV file with the columns `PUBLISHED_COLUMNS`: accuracy (0 to 1) after so many classes.

    Raises:
        GeniferError: the file cannot be read, lacks a column, or holds no accuracies.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise GeniferError(f"plots.published: {path} cannot be read as a CSV file: {error}") from error
    missing = [name for name in PUBLISHED_COLUMNS if name not in table]
    if missing:
        raise GeniferError(
            f"plots.published: {path} has no column {', '.join(missing)}; it needs "
            f"{', '.join(PUBLISHED_COLUMNS)}, a row for each point of a curve"
        )
    accuracy = pd.to_numeric(table["accuracy"], errors="coerce")
    wrong = table[~accuracy.between(0, 1)]
    if not wrong.empty:
        raise GeniferError(
            f"plots.published: {path}, line {wrong.index[0] + 2}: accuracy is "
            f"'{wrong['accuracy'].iloc[0]}'; it must be a share from 0 to 1"
        )
    return table.assign(accuracy=accuracy)[PUBLISHED_COLUMNS]
