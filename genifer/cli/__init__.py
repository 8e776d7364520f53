"""The command line: one command per rule of the workflow, and commands to start, watch and check runs.

Modules that import PyTorch or the settings are imported inside the commands, so that `--help` starts quickly.
"""

from __future__ import annotations

import gc
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from genifer import __version__
from genifer.cli import evaluation, jobs, run, tools
from genifer.cli.options import option
from genifer.errors import GeniferError
from genifer.runtime.logs import log_to
from genifer.runtime.usage import begin

app = typer.Typer(
    help="Generative feature-driven image replay for continual learning.\n\n"
    "Snakemake runs the jobs of a run in the right order; you can also run each job by hand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for title, commands in (run.COMMANDS | jobs.COMMANDS | evaluation.COMMANDS | tools.COMMANDS).items():
    for command in commands:
        app.command(rich_help_panel=title)(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"genifer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    log: Annotated[
        Path | None,
        option("--log", "Write all messages to this file, too."),
    ] = None,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    log_to(log)


COLLECT_AFTER = 100_000
"""Allocations between garbage collections. Python's default (700 or 2,000) delays a job's start by 0.2 s."""


def main() -> None:
    """Run the command line; a `GeniferError` prints its message and exits with its code."""
    begin()
    gc.set_threshold(COLLECT_AFTER)
    try:
        app()
    except GeniferError as error:
        logging.getLogger("genifer").error("genifer: %s", error)
        sys.exit(error.exit_code)
    except Exception:
        # The traceback of a bug belongs in the job's log, too.
        logging.getLogger("genifer").exception("genifer: unexpected error")
        sys.exit(1)
    finally:
        gc.freeze()  # otherwise Python scans all modules for garbage before it exits, which takes 0.3 s
