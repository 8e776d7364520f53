"""Resources used by a job so far: wall time, CPU time and memory of its process."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 2**20


@dataclass(frozen=True)
class Usage:
    """Resources used by one or more processes.

    Attributes:
        seconds: wall time.
        cpu_seconds: user plus system time, of the processes and of their child processes.
        memory_mb: peak resident memory in MiB, of the processes without their child processes.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_mb: float = 0.0

    @classmethod
    def of_status(cls, status: Mapping[str, Any]) -> Usage:
        """Return the usage recorded in a status file."""
        return cls(*(float(status.get(name) or 0.0) for name in ("seconds", "cpu_seconds", "memory_mb")))

    def after(self, earlier: Usage) -> Usage:
        """Return the total if one process ended before the other began."""
        return Usage(
            self.seconds + earlier.seconds,
            self.cpu_seconds + earlier.cpu_seconds,
            max(self.memory_mb, earlier.memory_mb),
        )

    def beside(self, others: Usage) -> Usage:
        """Return the total if the processes run at the same time."""
        return Usage(
            max(self.seconds, others.seconds),
            self.cpu_seconds + others.cpu_seconds,
            self.memory_mb + others.memory_mb,
        )

    def rounded(self) -> dict[str, float]:
        return {
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "memory_mb": round(self.memory_mb, 1),
        }


class _Clock:
    """The point from which usage is counted."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.cpu_before = 0.0
        self.commands = 0


_clock = _Clock()


def begin() -> None:
    """Start counting: the first call from the start of this process, later calls from now."""
    _clock.commands += 1
    if _clock.commands == 1:
        # Before this call Python imported modules, which keeps one CPU busy, so CPU time is wall time.
        _clock.began = time.monotonic() - _cpu_seconds()
    else:
        _clock.began, _clock.cpu_before = time.monotonic(), _cpu_seconds()


def leave_out(seconds: float) -> None:
    """Exclude waiting time, such as for a free GPU."""
    _clock.began += seconds


def usage() -> Usage:
    """Return what this process has used since `begin`; takes less than 0.1 ms."""
    return Usage(time.monotonic() - _clock.began, _cpu_seconds() - _clock.cpu_before, _peak_memory_mb())


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of its ended child processes."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _peak_memory_mb() -> float:
    """Return the peak memory in MiB, from /proc: on Linux ``ru_maxrss`` includes the parent's memory."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (MIB if sys.platform == "darwin" else 1024)
