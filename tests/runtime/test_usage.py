"""What a job has used: measured by its own process, and not by what started it."""

from __future__ import annotations

import json
import subprocess
import sys

from genifer.runtime.usage import Usage

MEASURES = """
import json, subprocess, sys, time
from genifer.runtime import usage
usage.begin()
def compute(seconds):
    while time.process_time() < seconds:
        pass
{}
used = usage.usage()
print(json.dumps([used.seconds, used.cpu_seconds, used.memory_mb, time.process_time()]))
"""
"""CPU time is compared with CPU time: wall time depends on what else this machine does."""


def measured(statements: str) -> list[float]:
    command = [sys.executable, "-c", MEASURES.format(statements)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_start_of_the_process_counts() -> None:
    seconds, cpu_seconds, _, of_process = measured("compute(0.3)")
    assert 0.3 <= cpu_seconds <= of_process
    assert of_process - cpu_seconds < 0.05
    assert seconds > 0.25


def test_programs_that_a_job_starts_count() -> None:
    starts = 'subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.5: pass"])'
    _, cpu_seconds, _, of_process = measured(starts)
    assert cpu_seconds > of_process + 0.45


def test_the_memory_of_the_process_that_starts_a_job_does_not_count() -> None:
    """For Linux' own figure of a process (ru_maxrss) it does."""
    large = bytearray(b"x" * (300 * 2**20))
    assert measured("")[2] < 200 < len(large) / 2**20
    assert measured("large = b'x' * (300 * 2**20)")[2] > 300


def test_waiting_can_be_left_out_and_a_second_job_begins_anew() -> None:
    seconds, cpu_seconds, *_ = measured("compute(0.5); usage.leave_out(100)")
    assert seconds < 0
    assert cpu_seconds >= 0.5
    assert measured("compute(0.5); usage.begin()")[1] < 0.2


def test_processes_after_and_beside_each_other() -> None:
    one, other = Usage(10, 20, 300), Usage(1, 2, 400)
    assert one.after(other) == Usage(11, 22, 400)
    assert one.beside(other) == Usage(10, 22, 700)
    assert Usage.of_status({"seconds": 3, "memory_mb": None}) == Usage(3, 0, 0)
