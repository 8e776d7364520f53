"""How many test images of each task a classifier gets right."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from genifer.config import EvaluationSettings
from genifer.data.batches import load_task_data
from genifer.errors import GeniferError
from genifer.evaluation import COLUMNS
from genifer.runtime.device import configure
from genifer.runtime.files import whole_file
from genifer.training.checkpoints import load_classifier

log = logging.getLogger(__name__)


@torch.inference_mode()
def evaluate(
    settings: EvaluationSettings,
    method: str,
    seed: int,
    classifier_path: Path,
    data_paths: Sequence[Path],
    output: Path,
    device: torch.device,
) -> None:
    """Write a row for each of the tasks whose images are given; the softmax is over all classes so far.

    Args:
        data_paths: prepared files of the tasks 0 to t in order.
    """
    configure(device, "fp32")
    trained = load_classifier(classifier_path, device)
    classifier = trained.network.eval()
    rows = []
    for eval_task, path in enumerate(data_paths):
        data = load_task_data([path], device)
        if data.task != eval_task:
            raise GeniferError(f"{path}: holds task {data.task}; give the files of tasks 0, 1, ... in order")
        correct = torch.zeros((), dtype=torch.int64, device=device)
        for images, labels in zip(
            data.images.split(settings.batch_size), data.labels.split(settings.batch_size), strict=True
        ):
            normalized = trained.normalization(images).contiguous(memory_format=torch.channels_last)
            correct += (classifier(normalized).argmax(1) == labels).sum()
        n_test, n_correct = len(data.labels), int(correct)
        accuracy = f"{n_correct / n_test:.6f}"
        rows.append([method, seed, len(data_paths) - 1, eval_task, data.n_new, n_test, n_correct, accuracy])
        log.info("task %d: %d of %d right (%.1f %%)", eval_task, n_correct, n_test, 100 * n_correct / n_test)
    with whole_file(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(rows)
