"""Watching runs until they have ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from genifer.errors import GeniferError
from genifer.watch.plan import PLAN, read_plan
from genifer.watch.progress import RunSeen, look, now
from genifer.watch.view import gpus, line, view


def watch(runs: Sequence[str], results: Path, every: float, once: bool) -> bool:
    """Show runs: live on a terminal, else a plain line each; ends when all have ended.

    Args:
        runs: names; none for those that are under way, or else the newest.
        every: seconds between looks.
        once: one plain line a run, and that is it.

    Returns:
        Whether no run has failed or stopped.
    """
    names = list(runs) or _worth_watching(results)
    for name in names:
        if not (results / name / PLAN).is_file():
            there = ", ".join(sorted(path.parent.name for path in results.glob(f"*/{PLAN}")))
            raise GeniferError(
                f"'{name}' is no run with a plan under {results}; "
                + (f"there are: {there}" if there else "start one with snakemake")
            )
    console = Console()
    if once or not console.is_terminal:
        seen = _look(results, names)
        _print(console, seen)
        while not once and _under_way(seen):
            time.sleep(every)
            seen = _look(results, names)
            _print(console, seen)
    else:
        seen = _look(results, names)
        with Live(view(seen, gpus(), console), console=console, screen=False, auto_refresh=False) as live:
            while _under_way(seen):
                time.sleep(every)
                seen = _look(results, names)
                live.update(view(seen, gpus(), console), refresh=True)
    return all(run.state in ("running", "done") for run in seen)


def _worth_watching(results: Path) -> list[str]:
    """The runs that are under way, or the newest."""
    folders = sorted(
        (path.parent for path in results.glob(f"*/{PLAN}")), key=lambda path: (path / PLAN).stat().st_mtime
    )
    if not folders:
        raise GeniferError(f"no run with a plan under {results}; start one with snakemake")
    under_way = [
        run.plan.run for run in _look(results, [path.name for path in folders]) if _is_under_way(run)
    ]
    return under_way or [folders[-1].name]


def _look(results: Path, names: Sequence[str]) -> list[RunSeen]:
    return [look(read_plan(results / name), now()) for name in names]


def _is_under_way(run: RunSeen) -> bool:
    return run.state == "running" or run.count("running") > 0


def _under_way(runs: Sequence[RunSeen]) -> bool:
    return any(_is_under_way(run) for run in runs)


def _print(console: Console, runs: Sequence[RunSeen]) -> None:
    for run in runs:
        console.print(line(run), markup=False, highlight=False, soft_wrap=True)
