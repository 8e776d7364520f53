"""Processes that fight for pretended GPUs while many are killed. From the repository's root, five minutes:

    python tests/support/lease_fight.py --processes 200 --gpus 4 --seconds 300

Each process notes on which GPU it is, and looks who else is there. These notes do not ask the locks, and those of
dead processes do not count.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from genifer.runtime import gpu_lease
from genifer.runtime.gpus import Gpu

LONGEST_LEASE = 0.3
BETWEEN_TRIES = 0.3
BETWEEN_KILLS = 0.05
"""Seconds, on average of those between kills."""
EXITING = 0x4
"""The kernel's PF_EXITING, which is set before the locks of a process are released."""


def stat_of(pid: int | str) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def me() -> str:
    return f"{os.getpid()}.{stat_of('self')[19]}"


def is_alive(note: str) -> bool:
    pid, started, _ = note.split(".")
    try:
        stat = stat_of(pid)
    except OSError:
        return False
    return stat[19] == started and stat[0] not in "ZX" and not int(stat[6]) & EXITING


def work(gpus: list[Gpu], limits: list[int], notes: Path, log: int) -> None:
    """Take a GPU and give it back, for ever, and write how many are there, and how many may be."""
    random.seed()
    limit = random.choice(limits)
    name = f"{me()}.{limit}"
    while True:
        began = time.monotonic()
        while (lease := gpu_lease.take_lease(gpus, limit)) is None:
            time.sleep(random.uniform(0, 2 * BETWEEN_TRIES))
        now = time.monotonic()
        note = notes / lease.gpus[0].uuid / name
        note.touch()
        there = [int(other.name.split(".")[2]) for other in note.parent.iterdir() if is_alive(other.name)]
        os.write(log, f"{now} {now - began} {len(there)} {min(there)}\n".encode())
        time.sleep(random.uniform(0, LONGEST_LEASE))
        note.unlink()
        lease.release()


def fork(gpus: list[Gpu], limits: list[int], notes: Path, log: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work(gpus, limits, notes, log)
        finally:
            os._exit(1)
    return pid


def fight(folder: Path, processes: int, n_gpus: int, limits: list[int], seconds: float) -> dict[str, float]:
    """Let processes fight, and count."""
    gpu_lease.FOLDER = folder / "leases"
    gpus = [Gpu(f"GPU-{index}", str(index), "Pretended") for index in range(n_gpus)]
    notes, log_path = folder / "notes", folder / "log"
    for gpu in gpus:
        (notes / gpu.uuid).mkdir(parents=True)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    running = {fork(gpus, limits, notes, log) for _ in range(processes)}
    slots = n_gpus * max(limits)
    kills = holders = died = 0
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(random.expovariate(1 / BETWEEN_KILLS))
        on_gpus = [int(note.name.split(".")[0]) for note in notes.glob("*/*")]
        on_gpus = [pid for pid in on_gpus if pid in running]
        # Every second one computes; the others wait, or are about to take a GPU.
        pid = random.choice(on_gpus if on_gpus and kills % 2 else list(running))
        holders += pid in on_gpus
        kills += 1
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        died += os.waitstatus_to_exitcode(status) != -signal.SIGKILL
        running.remove(pid)
        running.add(fork(gpus, limits, notes, log))
    ended = time.monotonic()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    for pid in running:
        os.waitpid(pid, 0)
    free = 0
    while free <= slots and gpu_lease.take_lease(gpus, max(limits)) is not None:
        free += 1
    lines = [[float(value) for value in line.split()] for line in log_path.read_text().splitlines()]
    times = sorted([began, *(line[0] for line in lines), ended])
    return {
        "processes": processes,
        "slots": slots,
        "seconds": round(ended - began),
        "leases": len(lines),
        "killed": kills,
        "killed on a GPU": holders,
        "ended by themselves": died,
        "most on one GPU": max((int(line[2]) for line in lines), default=0),
        "more than allowed": sum(line[2] > line[3] for line in lines),
        "longest pause between leases (s)": round(max(b - a for a, b in itertools.pairwise(times)), 2),
        "longest wait (s)": round(max((line[1] for line in lines), default=0), 2),
        "free at the end": free,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=200)
    parser.add_argument("--gpus", type=int, default=4)
    parser.add_argument("--limits", type=int, nargs="+", default=[1], help="each process has one of them")
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = fight(Path(folder), options.processes, options.gpus, options.limits, options.seconds)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
