"""Checks by the workflow before its first job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from genifer.config import RunSettings
from genifer.errors import GeniferError
from genifer.layout import Layout
from genifer.runtime.gpus import visible_gpus


def check_elsewhere(run: RunSettings, *, elsewhere: bool, gpus: int | None = None) -> bool:
    """Check data, device and time of a run in a separate process, which may import PyTorch.

    Args:
        elsewhere: whether jobs run on other machines, so that this machine's device does not matter.
        gpus: Snakemake's resource gpu; None without a limit.

    Returns:
        Whether the run may start; if not, the process has printed the reason.
    """
    command = [sys.executable, "-m", "genifer", "check", "--settings", run.model_dump_json()]
    command += ["--elsewhere"] if elsewhere else []
    command += [f"--gpus={gpus}"] if gpus is not None else []
    return subprocess.run(command, check=False).returncode == 0


def missing_here(layout: Layout) -> list[str]:
    """Return messages about what a run lacks on this machine, for a dry run, without PyTorch or a network."""
    from genifer.monitor.preflight import check_given_files

    run, messages = layout.settings, []
    try:
        check_given_files(run)
    except GeniferError as error:
        messages.append(f"missing file: {error}")
    if layout.downloaded and not Path(layout.downloaded).exists():
        url = run.registry.dataset(run.data.dataset).url
        messages.append(f"needs a network: data.archive names no file, so {url} would be downloaded")
    messages += [
        f"needs a network: classifier.pretrained would be downloaded to {weights}"
        for weights in layout.downloaded_weights.values()
        if not Path(weights).exists()
    ]
    if run.runtime.device != "cpu" and not visible_gpus()[0]:
        messages.append(
            f"no GPU: nvidia-smi lists none here, and runtime.device is {run.runtime.device}; "
            "genifer doctor estimates the time on this CPU"
        )
    return messages


def trainings_at_once(run: RunSettings, cores: int | None, gpus: int | None) -> int:
    """Return the number of trainings that run at the same time.

    Args:
        cores: number of cores that Snakemake may use; None if jobs run on other machines.
        gpus: Snakemake's resource gpu; None without a limit.
    """
    if run.runtime.device != "cpu" and gpus:
        return max(1, gpus // run.runtime.gpus_per_job)
    return max(1, (cores or run.runtime.threads) // run.runtime.threads)
