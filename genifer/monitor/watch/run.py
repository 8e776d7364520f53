"""Watch runs until they have ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from genifer.errors import GeniferError
from genifer.layout import PLAN
from genifer.monitor.watch.plan import read_plan
from genifer.monitor.watch.progress import RunProgress, now, read_progress
from genifer.monitor.watch.view import gpus, line, view


def watch(names: Sequence[str], results: Path, every: float, once: bool) -> bool:
    """Show the progress of runs, live on a terminal, else as plain lines, until all have ended.

    Args:
        names: names of the runs; if empty, all that are running, or else the newest.
        results: folder of the runs.
        every: seconds between updates.
        once: print one plain line per run and return.

    Returns:
        Whether no run has failed or stopped.

    Raises:
        GeniferError: a run has no plan.
    """
    names = list(names) or _running_or_newest(results)
    for name in names:
        if not (results / name / PLAN).is_file():
            known = ", ".join(sorted(path.parent.name for path in results.glob(f"*/{PLAN}")))
            raise GeniferError(
                f"'{name}': no run of this name has started under {results}; "
                + (f"there are: {known}" if known else "start it with snakemake")
            )
    console = Console()
    runs = _read(results, names)
    if once or not console.is_terminal:
        _print(console, runs)
        while not once and any(map(_is_running, runs)):
            time.sleep(every)
            runs = _read(results, names)
            _print(console, runs)
    else:
        # Ctrl-C ends the display, not the run.
        with (
            contextlib.suppress(KeyboardInterrupt),
            Live(view(runs, gpus(), console), console=console, screen=False, auto_refresh=False) as live,
        ):
            while any(map(_is_running, runs)):
                time.sleep(every)
                runs = _read(results, names)
                live.update(view(runs, gpus(), console), refresh=True)
    return all(run.state in ("running", "done") for run in runs)


def newest(results: Path) -> str:
    """Return the name of the run that was started last.

    Args:
        results: folder of the runs.

    Raises:
        GeniferError: none has been started.
    """
    return _started(results)[-1]


def _started(results: Path) -> list[str]:
    """Return the names of the runs that have been started, the newest last."""
    plans = sorted(results.glob(f"*/{PLAN}"), key=lambda path: path.stat().st_mtime)
    if not plans:
        raise GeniferError(f"no run has been started under {results}; start one with snakemake")
    return [path.parent.name for path in plans]


def _running_or_newest(results: Path) -> list[str]:
    names = _started(results)
    return [run.plan.run for run in _read(results, names) if _is_running(run)] or names[-1:]


def _read(results: Path, names: Sequence[str]) -> list[RunProgress]:
    return [read_progress(read_plan(results / name), now()) for name in names]


def _is_running(run: RunProgress) -> bool:
    return run.state == "running" or run.count("running") > 0


def _print(console: Console, runs: Sequence[RunProgress]) -> None:
    for run in runs:
        console.print(line(run), markup=False, highlight=False, soft_wrap=True)
