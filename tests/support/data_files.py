"""Made-up data sets, and their preparation without the workflow."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from genifer.data.batches import TaskData, load_task_data
from genifer.data.prepare import prepare_data
from genifer.run_file import parse_settings

DIGITS: dict[str, Any] = {"dataset": "digits", "image_size": 8, "channels": 1}


def prepare(
    output: Path,
    data: Mapping[str, Any],
    scenario: Mapping[str, Any],
    plugins: Sequence[Path] = (),
    downloaded: Path | None = None,
) -> None:
    """Prepare data as the job does, from blocks of a run file."""
    content = {"plugins": [*map(str, plugins)], "data": data, "scenario": scenario}
    settings = parse_settings(content, source="run.yaml")
    dataset = settings.registry.dataset(settings.data.dataset)
    prepare_data(dataset, settings.data, settings.scenario, downloaded, output)


def load(folder: Path, task: int, split: str = "train") -> TaskData:
    """Read a prepared file."""
    return load_task_data([folder / f"task_{task}_{split}.safetensors"], torch.device("cpu"))


def write_class_folders(root: Path, classes: Sequence[str], per_class: int = 3, side: int = 11) -> None:
    """Write train/<class>/<number>.png and test/... with images in the colour of their class."""
    for split in ("train", "test"):
        for index, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                color = (20 * index + 10, 200, 10 * number)
                Image.new("RGB", (side + number, side), color).save(folder / f"{number}.png")


def write_cifar100(path: Path, n_train: int = 200, n_test: int = 100, classes: int = 100) -> str:
    """Write a small archive in CIFAR-100's format, and what it holds beside it; return its MD5."""
    rng = np.random.RandomState(0)
    source = path.parent / "cifar-100-python"
    source.mkdir()
    for split, n in (("train", n_train), ("test", n_test)):
        labels = [i % classes for i in range(n)]
        data = rng.randint(0, 256, (n, 3072), dtype=np.uint8)
        with (source / split).open("wb") as file:
            pickle.dump({"data": data, "fine_labels": labels, "coarse_labels": labels}, file)
    names = [f"class{i}" for i in range(classes)]
    (source / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": []}))
    with tarfile.open(path, "w:gz") as tar:
        tar.add(source, "cifar-100-python")
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_npz(path: Path, side: int = 28, **changes: np.ndarray) -> None:
    """Write MedMNIST's layout: five classes of twelve training images, as bright as their class's number."""
    labels = np.repeat(np.arange(5, dtype=np.uint8), 12)
    images = np.broadcast_to((10 * labels)[:, None, None, None], (60, side, side, 3))
    arrays = {
        "train_images": images,
        "train_labels": labels[:, None],
        "test_images": images[::3],
        "test_labels": labels[::3, None],
    }
    np.savez(path, **(arrays | changes))
