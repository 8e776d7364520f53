"""Published accuracies, drawn beside a run's own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from genifer.errors import GeniferError

PUBLISHED_COLUMNS = ["source", "method", "classes_seen", "accuracy"]


def read_published(path: Path) -> pd.DataFrame:
    """Read a CSV file of published accuracies.

    Returns:
        Columns `PUBLISHED_COLUMNS`: accuracy (0 to 1) after this number of classes.

    Raises:
        GeniferError: the file cannot be read, lacks a column, or holds values that are no accuracies.
    """
    try:
        table = pd.read_csv(path, dtype={"source": str, "method": str})
    except (OSError, ValueError) as error:
        raise GeniferError(f"plots.published: {path} cannot be read as a CSV file: {error}") from error
    missing = [name for name in PUBLISHED_COLUMNS if name not in table]
    if missing:
        raise GeniferError(
            f"plots.published: {path} has no column {', '.join(missing)}; it needs "
            f"{', '.join(PUBLISHED_COLUMNS)}, one row for each point of a curve"
        )
    for name, largest, allowed in (
        ("classes_seen", float("inf"), "a number of classes"),
        ("accuracy", 1.0, "a share from 0 to 1"),
    ):
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = table[~numbers.between(0, largest)]
        if not wrong.empty:
            raise GeniferError(
                f"plots.published: {path}, line {wrong.index[0] + 2}: {name} is '{wrong[name].iloc[0]}'; "
                f"it must be {allowed}"
            )
        table[name] = numbers
    return table[PUBLISHED_COLUMNS]
