"""Command lines of a run's planned jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genifer.layout import PlannedJob


def command_of(job: PlannedJob, output: str | Path, options: Sequence[str]) -> list[str]:
    """The arguments of `genifer` for a job, with its input files.

    Args:
        options: with the job's settings among them.
    """
    if job.method is not None and job.name == f"train_{job.method.name}":
        command = ["train", job.method.name]
    else:
        command = [job.name.replace("_", "-")]
    if not job.trains:
        command += ["--method", job.group]
    for name, path in job.inputs.items():
        if name != "data":
            command += [f"--{name.replace('_', '-')}", str(path)]
    return [*command, *options, "--seed", str(job.seed), "--output", str(output), *job.inputs["data"]]
