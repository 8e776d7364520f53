"""CIFAR-100 (Krizhevsky, 2009)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from genifer.data.archives import Archive
from genifer.data.dataset import Arrays, Dataset

if TYPE_CHECKING:
    from genifer.config import DataSettings
    from genifer.data.dataset import Images, Labels


class Cifar100(Dataset):
    """Photographs of 100 kinds of things, 32 x 32 pixels; downloaded."""

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
        """Read the pickles of the archive without running any code in them."""
        files = [f"cifar-100-python/{name}" for name in ("train", "test", "meta")]
        with Archive(archive, settings.max_unpacked_gb) as opened:
            train, test, meta = opened.read(files, _unpickle)
        names = [_text(name) for name in meta["fine_label_names"]]
        return Arrays(names, *_images_and_labels(train), *_images_and_labels(test))


def _images_and_labels(split: dict[str, Any]) -> tuple[Images, Labels]:
    """Images (n, 3, 32, 32) and labels (n,) of a pickle, whose images are rows of 3,072 bytes."""
    import numpy as np

    images = np.asarray(split["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images, np.asarray(split["fine_labels"], dtype=np.int64)


def _unpickle(file: IO[bytes]) -> dict[str, Any]:
    # Python 2 wrote the original pickles. With encoding="bytes", arrays are read without a copy.
    content = _DataUnpickler(file, encoding="bytes").load()
    return {_text(key): value for key, value in content.items()}


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


class _DataUnpickler(pickle.Unpickler):
    """Reads NumPy arrays and plain Python data, and refuses to run anything else."""

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it would have to run {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
