"""Where an evaluation computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from genifer.runtime.device import explained_memory, pick_device
from genifer.runtime.status import STATUS, machine_of, write_status


@contextmanager
def evaluating(job: str, device_name: str, output: Path) -> Iterator[torch.device]:
    """Give the device of an evaluation, and record the machine in its folder, for the costs of the run."""
    device = pick_device(device_name)
    with explained_memory("evaluation.batch_size"):
        yield device
    write_status(output / STATUS, {"job": job, "state": "done", **machine_of(device, "fp32")})
