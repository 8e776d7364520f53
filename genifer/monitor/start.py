"""What the workflow asks before its first job."""

from __future__ import annotations

import subprocess
import sys

from genifer.config import RunSettings


def check_elsewhere(run: RunSettings, *, elsewhere: bool, gpus: int | None = None) -> bool:
    """Check data, device and time of a run, in a process of its own that may import PyTorch.

    Args:
        elsewhere: jobs run on other machines, so this one's device does not matter.
        gpus: that Snakemake has; None without a limit.

    Returns:
        Whether the run may start; if not, a message has said why.
    """
    command = [sys.executable, "-m", "genifer", "check", "--settings", run.model_dump_json()]
    command += ["--elsewhere"] if elsewhere else []
    command += [f"--gpus={gpus}"] if gpus is not None else []
    return subprocess.run(command, check=False).returncode == 0


def trainings_at_once(run: RunSettings, cores: int | None, gpus: int | None) -> int:
    """Number of trainings that run side by side.

    Args:
        cores: that Snakemake has; None where jobs go to other machines.
        gpus: that Snakemake has; None without a limit.
    """
    if run.runtime.device != "cpu" and gpus:
        return max(1, gpus // run.runtime.gpus_per_job)
    return max(1, (cores or run.runtime.threads) // run.runtime.threads)
