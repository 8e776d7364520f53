"""Decoding of image files to the size of the run, in several threads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from genifer.data.new_images import new_images
from genifer.errors import GeniferError
from genifer.runtime.cpus import cpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from genifer.config import DataSettings
    from genifer.data.dataset import Images, Labels

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
FILES_AT_ONCE = 1024
"""Number of files that are decoded before their errors are checked."""
NAMED_AT_MOST = 10
"""Maximum number of images or classes that one message names."""


def read_images(
    root: Path,
    files: Sequence[Path],
    labels: Sequence[int],
    settings: DataSettings,
    bad: BadImages,
    *,
    crop: bool = False,
) -> tuple[Images, Labels]:
    """Decode images of any size, resized to ``image_size`` with ``channels`` channels.

    One thread per available CPU decodes images: Pillow releases the GIL. Memory use does not grow with the
    number of images (`new_images`).

    Args:
        root: folder relative to which messages name files.
        files, labels: path and label of each image.
        settings: ``image_size`` and ``channels``.
        bad: counts the images that do not decode, which are skipped.
        crop: whether to crop each image to the largest centred square before resizing it. Otherwise images
            that are not square are stretched.

    Returns:
        Images (n, channels, size, size) and labels (n,).
    """
    size = settings.image_size
    images = new_images((len(files), settings.channels, size, size))
    decoded = np.ones(len(files), dtype=bool)

    def read(index: int) -> Exception | None:
        try:
            images[index] = _decode(files[index], size, settings.channels, crop)
        except Exception as error:  # Pillow's decoders raise errors of every kind
            return error
        return None

    with ThreadPoolExecutor(cpus(), "decode") as threads:
        for start in range(0, len(files), FILES_AT_ONCE):
            some = range(start, min(start + FILES_AT_ONCE, len(files)))
            for index, error in zip(some, threads.map(read, some), strict=True):
                if error is not None:
                    bad.add(str(files[index].relative_to(root)), error)
                    decoded[index] = False
    return _only(images, decoded), np.asarray(labels, dtype=np.int64)[decoded]


def _only(images: Images, kept: NDArray[np.bool_]) -> Images:
    """Move the kept images to the front of the array, and return that part of it."""
    rows = np.flatnonzero(kept)
    for place, row in enumerate(rows):
        if place != row:
            images[place] = images[row]
    return images[: len(rows)]


def _decode(file: Path, size: int, channels: int, crop: bool) -> Images:
    """Return an image as (channels, size, size), rotated according to its EXIF orientation."""
    with Image.open(file, formats=FORMATS) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        resize = ImageOps.fit if crop else Image.Image.resize
        image = resize(image, (size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


class BadImages:
    """Counts images that do not decode: up to a limit each is a warning, beyond it they are an error.

    Args:
        shown: path of the folder or archive to show in messages.
        limit: ``data.max_bad_images``.
    """

    def __init__(self, shown: Path, limit: int) -> None:
        self.shown = shown
        self.limit = limit
        self.named: list[str] = []

    def add(self, name: str, error: Exception) -> None:
        """Count an image, and log a warning if it is within the limit."""
        self.named.append(f"{name} ({error})")
        if len(self.named) <= self.limit:
            log.warning("%s: skipped an image that does not decode: %s", self.shown, self.named[-1])

    def check(self) -> None:
        """Raise a `GeniferError` that names the images if there are more than the limit."""
        count = len(self.named)
        if count > self.limit:
            rest = f"\n  and {count - NAMED_AT_MOST} more" if count > NAMED_AT_MOST else ""
            raise GeniferError(
                f"data.archive: {self.shown}: images that do not decode: {count}, but data.max_bad_images: "
                f"{self.limit}. Repair or remove them, or raise data.max_bad_images to skip them:\n  "
                + "\n  ".join(self.named[:NAMED_AT_MOST])
                + rest
            )
