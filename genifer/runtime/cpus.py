"""How many CPUs a process may use."""

from __future__ import annotations

import os


def cpus() -> int:
    """What ``OMP_NUM_THREADS`` says, which Snakemake sets to a rule's threads; else all it may run on."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
