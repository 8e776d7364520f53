"""CIFAR-100 (Krizhevsky, 2009)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genifer.data.archives import Archive
from genifer.data.cifar_pickles import images_and_labels, text, unpickle
from genifer.data.dataset import Arrays, Dataset

if TYPE_CHECKING:
    from genifer.config import DataSettings

LABELS = "fine_labels"


class Cifar100(Dataset):
    """Photographs of objects in 100 classes, 32 x 32 pixels; downloaded."""

    name = "cifar100"
    version = 1
    classes = 100
    images = 60_000
    mean = (0.507, 0.487, 0.441)
    std = (0.267, 0.256, 0.276)
    archive = "download"
    archive_format = "cifar-100-python.tar.gz"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    md5 = "eb9058c3a382ffc7106e4002c42a8d85"

    @classmethod
    def load(cls, archive: Path, settings: DataSettings) -> Arrays:
        """Read the archive's pickles without running code from them."""
        files = [f"cifar-100-python/{name}" for name in ("train", "test", "meta")]
        with Archive(archive, settings.max_unpacked_gb) as opened:
            train, test, meta = opened.read(files, unpickle)
        names = [text(name) for name in meta["fine_label_names"]]
        return Arrays(names, *images_and_labels(train, LABELS), *images_and_labels(test, LABELS))
