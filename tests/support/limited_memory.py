"""Processes whose memory is limited, page cache included, by a control group of their own (root on Linux)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


class LimitedMemory:
    """A control group in which commands run.

    Attributes:
        own: largest memory of the processes' own so far, in bytes: without pages of files, which the system
            drops when it needs room.
    """

    def __init__(self) -> None:
        self.is_v1 = (V1 / "memory.limit_in_bytes").is_file()
        self.folder = (V1 if self.is_v1 else V2) / f"genifer-test-{os.getpid()}"
        self.own = 0
        try:
            self.folder.mkdir()
            self._limit_file.write_text(str(2**40))
        except OSError as error:
            self.close()
            pytest.skip(f"no control group for memory can be made here: {error}")

    @property
    def _limit_file(self) -> Path:
        return self.folder / ("memory.limit_in_bytes" if self.is_v1 else "memory.max")

    @property
    def peak(self) -> int:
        """Largest memory of all, pages of files included, in bytes."""
        return int((self.folder / ("memory.max_usage_in_bytes" if self.is_v1 else "memory.peak")).read_text())

    def run(self, command: Sequence[object], limit: int) -> subprocess.CompletedProcess[str]:
        """Run a command with so many bytes; it is killed if it needs more."""
        self._limit_file.write_text(str(limit))
        enter = f"echo $$ > {self.folder}/cgroup.procs && exec " + '"$@"'
        process = subprocess.Popen(
            ["sh", "-c", enter, "sh", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        key = "rss" if self.is_v1 else "anon"
        while process.poll() is None:
            figures = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
            self.own = max(self.own, int(figures[key]))
            time.sleep(0.02)
        assert process.stdout is not None
        return subprocess.CompletedProcess(command, process.returncode, process.stdout.read(), "")

    def close(self) -> None:
        """Remove the group; the last process may take a moment to leave it."""
        for _ in range(50):
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.1)
