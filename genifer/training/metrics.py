"""The scalars of a training: fetched from the device in groups and averaged into rows of metrics.csv."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genifer.runtime.csv_files import write_csv

ROWS = 200
"""Approximate number of rows of metrics.csv; each row holds means over the steps since the previous one."""

FETCHED_TOGETHER = 20
"""Number of steps whose scalars are fetched together, because each fetch waits for the device."""

SHOWN = 5
"""Number of last steps that an error message shows."""


class Metrics:
    """The scalars of steps (counted from 0): kept on the device, then fetched and averaged into rows."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.steps_per_row = max(1, count // ROWS)
        self.rows: list[dict[str, float]] = []
        self.waiting: list[tuple[int, dict[str, Tensor]]] = []
        self.of_row: dict[str, list[float]] = {}
        self.last: deque[tuple[int, dict[str, float]]] = deque(maxlen=SHOWN)

    def add(self, step: int, scalars: Mapping[str, Tensor]) -> None:
        self.waiting.append((step, {name: value.detach() for name, value in scalars.items()}))

    @property
    def due(self) -> bool:
        """Whether to fetch: the waiting steps are enough, or complete a row."""
        return len(self.waiting) >= FETCHED_TOGETHER or self._ends_row(self.waiting[-1][0])

    def fetch(self) -> list[tuple[int, dict[str, float]]]:
        """Return the scalars of the waiting steps. This is the only place that waits for the device."""
        tensors = [value.float() for _, scalars in self.waiting for value in scalars.values()]
        values = iter(torch.stack(tensors).tolist() if tensors else [])
        fetched = [(step, {name: next(values) for name in scalars}) for step, scalars in self.waiting]
        self.waiting.clear()
        return fetched

    def take(self, step: int, scalars: Mapping[str, float]) -> dict[str, float] | None:
        """Add a fetched step's scalars; return the row that they complete, if any."""
        self.last.append((step, dict(scalars)))
        for name, value in scalars.items():
            self.of_row.setdefault(name, []).append(value)
        if not self._ends_row(step):
            return None
        means = {name: math.fsum(values) / len(values) for name, values in self.of_row.items()}
        self.of_row.clear()
        self.rows.append({"step": step + 1, **means})
        return means

    def _ends_row(self, step: int) -> bool:
        return (step + 1) % self.steps_per_row == 0 or step + 1 == self.count

    def last_steps(self) -> str:
        """Return the scalars of the last steps as text, one line per step."""
        lines = []
        for step, scalars in self.last:
            values = ", ".join(f"{name} {value:.4g}" for name, value in scalars.items())
            lines.append(f"  step {step + 1:,}: {values}")
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "of_row": self.of_row, "last": list(self.last)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rows, self.of_row = state["rows"], state["of_row"]
        self.last.extend(state["last"])

    def write(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the rows as CSV, each beginning with the columns of ``about``."""
        names = list(dict.fromkeys(["step", *(name for row in self.rows for name in row)]))
        rows = [
            [*about.values(), *(f"{row[name]:.6g}" if name in row else "" for name in names)]
            for row in self.rows
        ]
        write_csv(path, [*about, *names], rows)
