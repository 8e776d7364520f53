"""Device and precision of evaluations."""

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
    """Yield the device and the precision of an evaluation, and record its costs and machine at the end.

    Args:
        output: the job's folder, which gets the record.
        files: a classifier and images, for evaluations in the precision of trainings; others use fp32.
    """
    device, precision = pick_device(runtime.device), "fp32"
    if files is not None:
        sizes = ClassifierSizes.of_files(*files)
        precision = choose_precision(runtime.precision, device, sizes, runtime.deterministic).precision
    with explained_memory("evaluation.batch_size"):
        yield device, precision
    record_job(output, job, device, precision)
