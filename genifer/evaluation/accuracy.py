"""Accuracy and confusion counts of a classifier on the test images of each task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from genifer.config import EvaluationSettings
from genifer.data.batches import load_task_data
from genifer.errors import GeniferError
from genifer.evaluation import COLUMNS, CONFUSION_COLUMNS
from genifer.registry import Registry
from genifer.runtime.csv_files import write_csv
from genifer.runtime.device import configure
from genifer.training.checkpoints import load_predictor

log = logging.getLogger(__name__)


@torch.inference_mode()
def evaluate(
    settings: EvaluationSettings,
    label: str,
    seed: int,
    classifier_path: Path,
    data_paths: Sequence[Path],
    output: Path,
    device: torch.device,
    registry: Registry,
) -> None:
    """Evaluate a classifier on all tasks so far, among all classes so far.

    Writes ``accuracy.csv``, one row per task, and ``confusion.csv``, the predicted classes of the images of
    each class. The method that made the checkpoint classifies, with the head or in its own way.

    Args:
        label: value of the column ``method``.
        data_paths: prepared files of the tasks 0 to t in order.
        output: folder of the tables.
    """
    configure(device, "fp32")
    trained, predictor = load_predictor(classifier_path, device, registry)
    trained.network.eval()
    after_task = len(data_paths) - 1
    rows: list[list[object]] = []
    pairs: list[list[object]] = []
    for eval_task, path in enumerate(data_paths):
        data = load_task_data([path], device)
        if data.task != eval_task:
            raise GeniferError(f"{path}: holds task {data.task}; give the files of tasks 0, 1, ... in order")
        predicted = torch.cat(
            [
                predictor.logits(
                    trained.normalization(images).contiguous(memory_format=torch.channels_last)
                ).argmax(1)
                for images, _ in data.in_order(settings.batch_size)
            ]
        )
        n_test, n_correct = len(data.labels), int((predicted == data.labels).sum())
        about = [label, seed, after_task, eval_task]
        rows.append([*about, data.n_new, n_test, n_correct, f"{n_correct / n_test:.6f}"])
        names = data.class_names
        found, counts = torch.stack([data.labels, predicted]).unique(dim=1, return_counts=True)
        for (true, taken_for), count in zip(found.T.tolist(), counts.tolist(), strict=True):
            pairs.append([*about, true, names[true], taken_for, names[taken_for], count])
        log.info(
            "task %d: %d of %d correct (%.1f %%)", eval_task, n_correct, n_test, 100 * n_correct / n_test
        )
    write_csv(output / "accuracy.csv", COLUMNS, rows)
    write_csv(output / "confusion.csv", CONFUSION_COLUMNS, pairs)
