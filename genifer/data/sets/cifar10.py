"""CIFAR-10 (Krizhevsky, 2009)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genifer.data.archives import Archive
from genifer.data.cifar_pickles import images_and_labels, text, unpickle
from genifer.data.dataset import Arrays, Dataset

if TYPE_CHECKING:
    from genifer.config import DataSettings

TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
FILES = (*TRAIN, "test_batch", "batches.meta")
LABELS = "labels"


class Cifar10(Dataset):
    """Photographs of objects in 10 classes, 32 x 32 pixels; downloaded."""

    name = "cifar10"
    version = 1
    classes = 10
    images = 60_000
    mean = (0.491, 0.482, 0.447)
    std = (0.247, 0.243, 0.262)
    archive = "download"
    archive_format = "cifar-10-python.tar.gz"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    md5 = "c58f30108f718f92721af3b95e74349a"

    @classmethod
    def load(cls, archive: Path, settings: DataSettings) -> Arrays:
        """Read the archive's pickles without running code from them."""
        import numpy as np

        files = [f"cifar-10-batches-py/{name}" for name in FILES]
        with Archive(archive, settings.max_unpacked_gb) as opened:
            *batches, test, meta = opened.read(files, unpickle)
        images, labels = zip(*(images_and_labels(batch, LABELS) for batch in batches), strict=True)
        names = [text(name) for name in meta["label_names"]]
        return Arrays(names, np.concatenate(images), np.concatenate(labels), *images_and_labels(test, LABELS))
