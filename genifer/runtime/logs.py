"""Log messages of a command: to the terminal and, if one is given, to a log file."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from genifer.errors import GeniferError
from genifer.runtime.processes import RENDEZVOUS, is_first

QUIET_JOBS = "GENIFER_QUIET_JOBS"
"""Environment variable: with a log file, only warnings go to stderr.

Snakemake's logger plugin sets it, because it reports itself how jobs end."""

OWN_LINE = "\r\x1b[2K"
"""Clears the line of a terminal in which another process shows the running jobs."""

CHATTY = {
    "fontTools": logging.WARNING,
    "matplotlib": logging.WARNING,
    "matplotlib.font_manager": logging.ERROR,
}
"""Minimum level of messages from packages that otherwise log their search for fonts and the like."""


def log_to(path: Path | None) -> None:
    """Send log messages to stderr and, if a path is given, to a new file there.

    If a training has several processes, the first appends to the file of the process that started it; the
    others send only warnings and errors, to stderr.

    Raises:
        GeniferError: the file cannot be written.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path is not None and is_first():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if RENDEZVOUS not in os.environ:
                path.write_bytes(b"")
            handlers.append(logging.FileHandler(path, mode="a", encoding="utf-8"))
        except OSError as error:
            raise GeniferError(
                f"--log: {path} cannot be written ({error.strerror}); give a path in a writable folder"
            ) from error
        if QUIET_JOBS in os.environ:
            handlers[0].addFilter(lambda record: record.levelno == logging.WARNING)
            if sys.stderr.isatty():
                handlers[0].setFormatter(logging.Formatter(f"{OWN_LINE}%(message)s"))
    # A closed terminal or pipe must not stop a training.
    logging.raiseExceptions = False
    level = logging.INFO if is_first() else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=handlers, force=True)
    for package, least in CHATTY.items():
        logging.getLogger(package).setLevel(least)


def logs_to_file() -> bool:
    """Return whether log messages also go to a file, as in jobs of the workflow."""
    return any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers)
