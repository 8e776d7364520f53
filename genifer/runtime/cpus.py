"""The number of CPUs that a process may use."""

from __future__ import annotations

import os


def cpus() -> int:
    """Return ``OMP_NUM_THREADS``, which Snakemake sets to a rule's threads; else all available CPUs."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    if setting.isdecimal() and int(setting):
        return int(setting)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
