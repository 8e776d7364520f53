"""Commands of genifer in this process: quicker than a new one, for tests that run hundreds."""

from __future__ import annotations

import logging
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import torch

from genifer import cli
from genifer.runtime import usage

SECONDS = 60

usage.begin()  # so that commands count from their own start, not from that of pytest


@contextmanager
def no_hang() -> Iterator[None]:
    def late(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"took longer than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def logging_restored() -> Iterator[None]:
    """Give pytest its handlers back, which a command replaces by its own."""
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    try:
        yield
    finally:
        for handler in root.handlers[:]:
            root.removeHandler(handler)
            if handler not in handlers:
                handler.close()
        for handler in handlers:
            root.addHandler(handler)
        root.setLevel(level)
        logging.raiseExceptions = raises


def genifer(*arguments: str | Path) -> int:
    """Run a command in this process, and return its exit code; its messages go to stderr.

    An exception that gets out of it fails the test; the command line logs those of bugs and returns 1.
    """
    argv = sys.argv
    sys.argv = ["genifer", *map(str, arguments)]
    try:
        with no_hang(), logging_restored():
            cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
        torch.set_flush_denormal(False)
    return 0


def run(capture: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit code and messages of a command."""
    capture.readouterr()
    code = genifer(*arguments)
    return code, capture.readouterr().err


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Refuse to write larger files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
