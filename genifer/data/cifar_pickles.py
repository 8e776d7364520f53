"""Reading of the CIFAR data sets' pickles without running code from them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genifer.data.dataset import Images, Labels


def unpickle(file: IO[bytes]) -> dict[str, Any]:
    """Read a pickle of NumPy arrays and plain Python data.

    Raises:
        pickle.UnpicklingError: reading the pickle would run code.
    """
    # Python 2 wrote the original pickles; encoding="bytes" reads their arrays without a copy.
    content = _DataUnpickler(file, encoding="bytes").load()
    return {text(key): value for key, value in content.items()}


def images_and_labels(batch: Mapping[str, Any], labels: str) -> tuple[Images, Labels]:
    """Return the images (n, 3, 32, 32) and labels (n,) of a pickle.

    Args:
        batch: content of the pickle; its images are rows of 3,072 bytes.
        labels: key of the labels.
    """
    import numpy as np

    images = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images, np.asarray(batch[labels], dtype=np.int64)


def text(name: bytes | str) -> str:
    """Decode a text, which pickles of Python 2 hold as bytes."""
    return name.decode() if isinstance(name, bytes) else name


class _DataUnpickler(pickle.Unpickler):
    """Reads NumPy arrays and plain Python data, and refuses anything else."""

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
            raise pickle.UnpicklingError(f"reading it would run {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
