"""Messages of a command: to the terminal, and to a log file if one is named."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from genifer.errors import GeniferError
from genifer.runtime.processes import RENDEZVOUS, is_first

QUIET_JOBS = "GENIFER_QUIET_JOBS"
"""Environment variable: with a log file, only warnings go to stderr.

Snakemake's logger plugin sets it, because it prints itself how jobs end."""

OWN_LINE = "\r\x1b[2K"
"""Clears the line of a terminal in which another process shows what is running."""

CHATTY = {
    "fontTools": logging.WARNING,
    "matplotlib": logging.WARNING,
    "matplotlib.font_manager": logging.ERROR,
}
"""The least severe messages that packages may log; they log their search for fonts, among other things."""


def log_to(path: Path | None) -> None:
    """Send all messages to stderr and, if a path is given, to a new file there.

    Of a training's processes the first one adds to the file of the process that has started it; the others
    tell nothing but what goes wrong, to stderr.

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
                f"--log: {path} cannot be written ({error.strerror}); give a path in a folder that can"
            ) from error
        if QUIET_JOBS in os.environ:
            handlers[0].addFilter(lambda record: record.levelno == logging.WARNING)
            if sys.stderr.isatty():
                handlers[0].setFormatter(logging.Formatter(f"{OWN_LINE}%(message)s"))
    # A terminal or pipe that has gone must not stop a training.
    logging.raiseExceptions = False
    level = logging.INFO if is_first() else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=handlers, force=True)
    for package, least in CHATTY.items():
        logging.getLogger(package).setLevel(least)


def logs_to_file() -> bool:
    """Whether messages also go to a file, as those of the workflow's jobs do."""
    return any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers)
