"""How many test images of each task a classifier gets right, and what it takes the others for."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from genifer.config import EvaluationSettings
from genifer.data.batches import load_task_data
from genifer.errors import GeniferError
from genifer.evaluation import COLUMNS, CONFUSION_COLUMNS
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
    """Evaluate on the tasks whose images are given; the softmax is over all classes so far.

    Writes ``accuracy.csv``, a row a task, and ``confusion.csv``, what the images of each class are taken for.

    Args:
        data_paths: prepared files of the tasks 0 to t in order.
        output: folder of the tables.
    """
    configure(device, "fp32")
    trained = load_classifier(classifier_path, device)
    classifier = trained.network.eval()
    after_task = len(data_paths) - 1
    rows: list[list[object]] = []
    pairs: list[list[object]] = []
    for eval_task, path in enumerate(data_paths):
        data = load_task_data([path], device)
        if data.task != eval_task:
            raise GeniferError(f"{path}: holds task {data.task}; give the files of tasks 0, 1, ... in order")
        predicted = torch.cat(
            [
                classifier(
                    trained.normalization(images).contiguous(memory_format=torch.channels_last)
                ).argmax(1)
                for images in data.images.split(settings.batch_size)
            ]
        )
        n_test, n_correct = len(data.labels), int((predicted == data.labels).sum())
        about = [method, seed, after_task, eval_task]
        rows.append([*about, data.n_new, n_test, n_correct, f"{n_correct / n_test:.6f}"])
        found, counts = torch.stack([data.labels, predicted]).unique(dim=1, return_counts=True)
        for (label, taken_for), count in zip(found.T.tolist(), counts.tolist(), strict=True):
            pairs.append([*about, label, data.class_names[label], taken_for, count])
        log.info("task %d: %d of %d right (%.1f %%)", eval_task, n_correct, n_test, 100 * n_correct / n_test)
    _write(output / "accuracy.csv", COLUMNS, rows)
    _write(output / "confusion.csv", CONFUSION_COLUMNS, pairs)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)
