"""Empty arrays for images to decode into: in memory, or on disk if they are large."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from genifer.errors import GeniferError

if TYPE_CHECKING:
    from genifer.data.dataset import Images

IN_MEMORY = 10**9
"""Maximum number of bytes kept in memory; larger arrays are memory-mapped, unnamed temporary files."""

PIECE = 2**24
"""Maximum number of bytes of images that are computed or written at once."""


def new_images(shape: Sequence[int]) -> Images:
    """Return an empty uint8 array. A large one is on disk, in the folder for temporary files.

    Raises:
        GeniferError: the disk has not enough room.
    """
    size = int(np.prod(shape, dtype=np.int64))
    if size <= IN_MEMORY:
        return np.empty(shape, dtype=np.uint8)
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="genifer-") as file:
            # A full disk would otherwise kill the process while it fills the array.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype=np.uint8, mode="r+", shape=tuple(shape))
    except OSError as error:
        raise GeniferError(
            f"{folder} has no room for {size / 1e9:.1f} GB of decoded images ({error.strerror}); free space, "
            "or set the environment variable TMPDIR to a folder on a larger disk"
        ) from error


def pieces(images: Images, count: int | None = None) -> Iterator[slice]:
    """Divide ``count`` images of this shape (default: all of them) into slices of at most `PIECE` bytes.

    A slice holds at least one image.
    """
    length = max(1, PIECE // int(np.prod(images.shape[1:], dtype=np.int64)))
    return (
        slice(start, start + length) for start in range(0, len(images) if count is None else count, length)
    )
