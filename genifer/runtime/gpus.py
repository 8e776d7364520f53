"""The GPUs of this machine, found without PyTorch, so that a process can choose one before CUDA starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

VISIBLE = "CUDA_VISIBLE_DEVICES"
COMMAND = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"]
TIMEOUT_SECONDS = 60
"""nvidia-smi may take many seconds without the persistence daemon, and hangs on some broken GPUs."""


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one (MIG).

    Attributes:
        uuid: its name in ``CUDA_VISIBLE_DEVICES``, the same for all processes, unlike its number there.
        index: its number in nvidia-smi; empty for a part of a GPU.
        model: its product name.
    """

    uuid: str
    index: str = ""
    model: str = ""

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.model}, {self.uuid})" if self.index else self.uuid


def visible_gpus() -> tuple[list[Gpu], list[str]]:
    """Return the GPUs that this process may use, and messages about GPUs that do not work.

    ``CUDA_VISIBLE_DEVICES`` is read as CUDA reads it with ``CUDA_DEVICE_ORDER=PCI_BUS_ID``, which matters if
    a machine has different GPUs. Unlike in CUDA, a failed GPU does not hide those named after it. Schedulers
    such as Slurm set the variable, so their assignment is respected. Without nvidia-smi, only parts of GPUs
    named in the variable are found, and there are no messages: the machine may have GPUs nevertheless.
    """
    setting = os.environ.get(VISIBLE)
    if shutil.which(COMMAND[0]) is None:
        return _chosen([], setting)[0], []
    listed, problems = listed_gpus()
    chosen, missing = _chosen(listed, setting)
    return chosen, problems + missing


def listed_gpus() -> tuple[list[Gpu], list[str]]:
    """Return the GPUs that nvidia-smi lists, and its error messages: it may fail for only some of them."""
    try:
        answer = subprocess.run(COMMAND, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return [], [f"nvidia-smi failed ({error}): a GPU or its driver does not work"]
    gpus, others = [], []
    for line in (answer.stdout + answer.stderr).splitlines():
        cells = line.split(", ", 2)
        if len(cells) == 3 and cells[1].startswith("GPU-"):
            gpus.append(Gpu(cells[1], cells[0], cells[2].strip()))
        elif line.strip():
            others.append(line.strip())
    if answer.returncode == 0 and not others:
        return gpus, []
    return gpus, [f"nvidia-smi: {' '.join(others) or 'failed'} (exit code {answer.returncode})"]


def _chosen(listed: Sequence[Gpu], setting: str | None) -> tuple[list[Gpu], list[str]]:
    """Return the GPUs named by a value of ``CUDA_VISIBLE_DEVICES``, and messages about missing ones."""
    if setting is None:
        return list(listed), []
    chosen: dict[str, Gpu] = {}
    missing = []
    for entry in map(str.strip, setting.split(",")):
        if entry.startswith("MIG-"):
            found = [Gpu(entry)]
        elif entry.startswith("GPU-"):
            found = [gpu for gpu in listed if gpu.uuid.startswith(entry)]
        elif entry.isdecimal():
            found = [gpu for gpu in listed if gpu.index == entry]
        else:  # CUDA ignores this entry and all after it; -1 or an empty value hides all GPUs on purpose
            break
        if len(found) == 1:
            chosen[found[0].uuid] = found[0]
        else:
            there = ", ".join(map(str, listed)) or "none"
            missing.append(
                f"{VISIBLE}={setting}: '{entry}' is {'more than one' if found else 'none'} of the GPUs that "
                f"nvidia-smi lists ({there}): the GPU has failed, or the variable is wrong"
            )
    return list(chosen.values()), missing
