"""Where and how precisely an evaluation computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from genifer.config import RuntimeSettings
from genifer.runtime.device import explained_memory, pick_device
from genifer.runtime.status import record_job
from genifer.training.precision import ClassifierSizes, choose_precision


@contextmanager
def evaluating(
    job: str, runtime: RuntimeSettings, output: Path, files: tuple[Path, Path] | None = None
) -> Iterator[tuple[torch.device, str]]:
    """Give the device and the precision of an evaluation.

    At the end its costs and the machine are recorded in the job's folder.

    Args:
        files: a classifier and images, for evaluations that compute as the trainings do; others use fp32.
    """
    device, precision = pick_device(runtime.device), "fp32"
    if files is not None:
        sizes = ClassifierSizes.of_files(*files)
        precision = choose_precision(runtime.precision, device, sizes, runtime.deterministic).precision
    with explained_memory("evaluation.batch_size"):
        yield device, precision
    record_job(output, job, device, precision)
