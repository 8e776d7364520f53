"""What the workflow asks before its first job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from genifer.config import RunSettings
from genifer.errors import GeniferError
from genifer.layout import Layout
from genifer.runtime.gpus import visible_gpus


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


def missing_here(layout: Layout) -> list[str]:
    """Say what a run lacks on this machine, for a dry run: quickly, without PyTorch and without a network."""
    from genifer.monitor.preflight import check_given_files

    run, said = layout.settings, []
    try:
        check_given_files(run)
    except GeniferError as error:
        said.append(f"missing file: {error}")
    if layout.downloaded and not Path(layout.downloaded).exists():
        url = run.registry.dataset(run.data.dataset).url
        said.append(f"needs a network: data.archive names no file, so {url} would be downloaded")
    said += [
        f"needs a network: classifier.pretrained would be downloaded to {weights}"
        for weights in layout.downloaded_weights.values()
        if not Path(weights).exists()
    ]
    if run.runtime.device != "cpu" and not visible_gpus()[0]:
        said.append(
            f"no GPU: nvidia-smi lists none here, and runtime.device is {run.runtime.device}; "
            "genifer doctor estimates the time on this CPU"
        )
    return said


def trainings_at_once(run: RunSettings, cores: int | None, gpus: int | None) -> int:
    """Number of trainings that run side by side.

    Args:
        cores: that Snakemake has; None where jobs go to other machines.
        gpus: that Snakemake has; None without a limit.
    """
    if run.runtime.device != "cpu" and gpus:
        return max(1, gpus // run.runtime.gpus_per_job)
    return max(1, (cores or run.runtime.threads) // run.runtime.threads)
