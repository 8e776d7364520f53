"""Commands of genifer in this process: quicker than a new one, for tests that run hundreds."""

from __future__ import annotations

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

SECONDS = 60


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


def genifer(*arguments: str | Path) -> int:
    """A command in this process; an exception that gets out of it fails the test."""
    argv = sys.argv
    sys.argv = ["genifer", *map(str, arguments)]
    try:
        with no_hang():
            cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
        torch.set_flush_denormal(False)
    return 0


def run(capture: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit code and messages of a command."""
    code = genifer(*arguments)
    return code, capture.readouterr().err


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """As a disk that has no room for more: the operating system refuses to write on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
