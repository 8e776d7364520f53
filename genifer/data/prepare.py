"""Preparation of a data set: one file per task and split, so that a task opens only its own images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from genifer.config import DataSettings, ScenarioSettings
from genifer.data.dataset import Dataset
from genifer.data.load import load_arrays
from genifer.data.new_images import pieces
from genifer.data.scenario import build_scenario
from genifer.errors import GeniferError
from genifer.runtime.tensors import InPieces, save_in_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genifer.data.dataset import Images, Labels

log = logging.getLogger(__name__)


def prepare_data(
    dataset: type[Dataset],
    data: DataSettings,
    scenario_settings: ScenarioSettings,
    downloaded: Path | None,
    output: Path,
) -> None:
    """Write ``task_<t>_train``, ``_test`` and, depending on the settings, ``_validation.safetensors``.

    Each file holds ``images`` (n, channels, size, size) uint8, ``labels`` (n,) int64 (positions in the class
    order), and a description of the whole scenario.

    Args:
        dataset: the data set that the settings name.
        data: settings with the data set's own values in place of ``default``.
        scenario_settings: the class order and the tasks.
        downloaded: the downloaded archive, if there is one; ``data.archive`` takes precedence.
        output: folder for the files; created if it is missing.

    Raises:
        GeniferError: the data set cannot be loaded (see `load_arrays`), the scenario does not fit it, or a
            class has no image in a split.
    """
    arrays = load_arrays(dataset, data, downloaded)
    scenario = build_scenario(scenario_settings, arrays.class_names)

    label_of_class = np.full(len(arrays.class_names), -1, dtype=np.int64)
    label_of_class[list(scenario.order)] = np.arange(scenario.n_classes)
    train = _sorted_by_label(arrays.train_images, label_of_class[arrays.train_labels])
    test = _sorted_by_label(arrays.test_images, label_of_class[arrays.test_labels])
    train, validation = _split_classes(train, data.train_images_per_class, data.validation_fraction)

    mean, std = data.mean, data.std
    if not isinstance(mean, list) or not isinstance(std, list):
        mean, std = _statistics(train.of(scenario.labels(0)))
    splits = {"train": train, "test": test}
    if data.validation_fraction > 0:
        splits["validation"] = validation
    prepared: list[tuple[str, Chosen, dict[str, Any]]] = []
    for task in range(len(scenario.tasks)):
        for split, chosen in splits.items():
            of_task = chosen.of(scenario.labels(task))
            present = np.bincount(of_task.labels - scenario.first_label(task), minlength=scenario.tasks[task])
            if not present.all():
                label = scenario.first_label(task) + int(present.argmin())
                raise GeniferError(
                    f"class '{arrays.class_names[scenario.order[label]]}' has no image in the {split} split; "
                    "change data.validation_fraction, or give the class more images"
                )
            description = {
                "kind": "data set",
                "split": split,
                "task": task,
                "tasks": list(scenario.tasks),
                "class_order": list(scenario.order),
                "class_names": [arrays.class_names[c] for c in scenario.order],
                "mean": mean,
                "std": std,
            }
            prepared.append((f"task_{task}_{split}", of_task, description))
    for name, of_task, description in prepared:
        labels = of_task.labels
        shape = (len(labels), *of_task.images.shape[1:])
        tensors = {
            "images": InPieces(torch.uint8, shape, map(torch.from_numpy, of_task.in_pieces())),
            "labels": InPieces(torch.int64, labels.shape, [torch.from_numpy(labels)]),
        }
        save_in_pieces(output / f"{name}.safetensors", tensors, description)
        log.info("%s: %d images of %d classes", name, len(labels), len(np.unique(labels)))


class Chosen(NamedTuple):
    """A selection of a split's images, sorted by label. Images are copied piece by piece.

    Attributes:
        images: (n, channels, size, size): all images of the split.
        rows: (m,): positions of the selected images.
        labels: (m,): labels of the selected images.
    """

    images: Images
    rows: NDArray[np.intp]
    labels: Labels

    def of(self, wanted: range) -> Chosen:
        """Return the images whose labels are in a range."""
        first, last = np.searchsorted(self.labels, [wanted.start, wanted.stop])
        return Chosen(self.images, self.rows[first:last], self.labels[first:last])

    def in_pieces(self) -> Iterator[Images]:
        """Yield copies of the selected images, several at a time."""
        return (self.images[self.rows[piece]] for piece in pieces(self.images, len(self.rows)))


def _sorted_by_label(images: Images, labels: Labels) -> Chosen:
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    return Chosen(images, order, labels[order])


def _split_classes(
    chosen: Chosen, per_class: int | None, validation_fraction: float
) -> tuple[Chosen, Chosen]:
    """Split off the last images of each class for validation; the first are for training."""
    images, rows, labels = chosen
    counts = np.bincount(labels)
    position = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    count = np.repeat(counts, counts)
    held_out = position >= count - np.floor(count * validation_fraction).astype(np.int64)
    trained_on = ~held_out if per_class is None else ~held_out & (position < per_class)
    return (
        Chosen(images, rows[trained_on], labels[trained_on]),
        Chosen(images, rows[held_out], labels[held_out]),
    )


def _statistics(chosen: Chosen) -> tuple[list[float], list[float]]:
    """Compute mean and standard deviation per channel, of pixels scaled to 0..1."""
    counts = np.zeros((chosen.images.shape[1], 256), dtype=np.int64)
    for images in chosen.in_pieces():
        for channel, of_channel in enumerate(counts):
            of_channel += np.bincount(images[:, channel].ravel(), minlength=256)
    shares, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt(shares @ values**2 - mean**2)
    return [round(float(m), 4) for m in mean], [max(round(float(s), 4), 1e-3) for s in std]
