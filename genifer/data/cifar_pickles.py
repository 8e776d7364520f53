"""Pickles of the CIFAR data sets, read without running any code in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genifer.data.dataset import Images, Labels


def unpickle(file: IO[bytes]) -> dict[str, Any]:
    """Read a pickle of NumPy arrays and plain Python data.

    Raises:
        pickle.UnpicklingError: it would have to run code.
    """
    # Python 2 wrote the original pickles. With encoding="bytes", arrays are read without a copy.
    content = _DataUnpickler(file, encoding="bytes").load()
    return {text(key): value for key, value in content.items()}


def images_and_labels(batch: Mapping[str, Any], labels: str) -> tuple[Images, Labels]:
    """Images (n, 3, 32, 32) and labels (n,) of a pickle, whose images are rows of 3,072 bytes.

    Args:
        labels: key of the labels.
    """
    import numpy as np

    images = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images, np.asarray(batch[labels], dtype=np.int64)


def text(name: bytes | str) -> str:
    """A text, which pickles of Python 2 hold as bytes."""
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
