"""The plan printed by ``snakemake -n``: one line per rule and reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from snakemake_logger_plugin_genifer.jobs import TARGET, Job

REASONS = {
    "Missing output files": "not made yet",
    "Incomplete output files": "interrupted",
    "Updated input files": "changed input",
    "Input files updated by another job": "follows from jobs above",
    "Set of input files has changed since last execution": "other inputs than before",
    "Code has changed since last execution": "changed rule",
    "Params have changed since last execution": "changed settings",
    "Software environment definition has changed since last execution": "changed environment",
    "Forced execution": "forced",
}
"""Snakemake's reasons and their wording in the plan; the first that applies is used."""

NAMES_FILES = ("Incomplete output files", "Updated input files")
"""Reasons shown together with the file they name."""


@dataclass
class Row:
    """Jobs of one rule that run for the same reason."""

    rule: str
    reason: str
    jobs: list[Job] = field(default_factory=list)


@dataclass
class Plan:
    """The jobs that would run."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)

    @property
    def jobs(self) -> list[Job]:
        return [job for row in self.rows.values() for job in row.jobs]

    def add(self, job: Job, reason: str) -> None:
        if job.rule != TARGET:
            key = job.name, short(reason)
            self.rows.setdefault(key, Row(*key)).jobs.append(job)

    def lines(self) -> list[str]:
        """Return the plan as aligned text, in an order in which jobs could run."""
        cells: list[tuple[str, ...]] = [("jobs", "rule", "task", "seed", "why")]
        for row in self.rows.values():
            where = [ranges([job.wildcards.get(name, "") for job in row.jobs]) for name in ("task", "seed")]
            cells.append((str(len(row.jobs)), row.rule, *where, row.reason))
        cells.append((str(len(self.jobs)), "in total", "", "", ""))
        widths = [max(len(cell[column]) for cell in cells) for column in range(len(cells[0]) - 1)]
        return [
            "  ".join(
                [
                    cell[0].rjust(widths[0]),
                    *(cell[i].ljust(widths[i]) for i in range(1, len(widths))),
                    cell[-1],
                ]
            ).rstrip()
            for cell in cells
        ]


def short(reason: str) -> str:
    """Shorten one of Snakemake's reasons, keeping the first file that it names."""
    for known, words in REASONS.items():
        for part in reason.split("; "):
            if part.startswith(known):
                if known not in NAMES_FILES:
                    return words
                first, *others = part.partition(": ")[2].split(", ")
                return f"{words}: {first}" + (f" and {len(others)} more" if others else "")
    return reason.partition(": ")[0]


def ranges(numbers: Sequence[str]) -> str:
    """Format numbers as ranges: ``0-2, 5``."""
    found = sorted({int(number) for number in numbers if number})
    parts: list[list[int]] = []
    for number in found:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
