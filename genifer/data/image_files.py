"""Image files: each is decoded at the size of the run before the next is opened."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from genifer.errors import GeniferError

if TYPE_CHECKING:
    from genifer.config import DataSettings
    from genifer.data.dataset import Images, Labels

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
NAMED_AT_MOST = 10
"""Images or classes that one message names."""


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

    Args:
        root: messages name files relative to it.
        files, labels: of the same length.
        settings: ``image_size`` and ``channels``.
        bad: counts the images that do not decode, which are left out.
        crop: whether to cut the largest square around the centre out of each image before it is resized.
            Otherwise images that are no squares are stretched.

    Returns:
        Images (n, channels, size, size) and labels (n,).
    """
    size = settings.image_size
    images = np.empty((len(files), settings.channels, size, size), dtype=np.uint8)
    decoded = np.ones(len(files), dtype=bool)
    for index, file in enumerate(files):
        try:
            images[index] = _decode(file, size, settings.channels, crop)
        except Exception as error:  # Pillow's decoders raise errors of every kind
            bad.add(str(file.relative_to(root)), error)
            decoded[index] = False
    return images[decoded], np.asarray(labels, dtype=np.int64)[decoded]


def _decode(file: Path, size: int, channels: int, crop: bool) -> Images:
    """Return an image as (channels, size, size), rotated as its EXIF orientation says."""
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
    """Images that do not decode: up to a limit they are skipped with a warning, more are an error.

    Args:
        shown: how messages name the folder or archive.
        limit: ``data.max_bad_images``.
    """

    def __init__(self, shown: Path, limit: int) -> None:
        self.shown = shown
        self.limit = limit
        self.named: list[str] = []

    def add(self, name: str, error: Exception) -> None:
        """Count an image, with a warning as long as the limit allows it."""
        self.named.append(f"{name} ({error})")
        if len(self.named) <= self.limit:
            log.warning("%s: skipped an image that does not decode: %s", self.shown, self.named[-1])

    def check(self) -> None:
        """Raise a `GeniferError` that names the images if they are more than the limit."""
        count = len(self.named)
        if count > self.limit:
            rest = f"\n  and {count - NAMED_AT_MOST} more" if count > NAMED_AT_MOST else ""
            raise GeniferError(
                f"data.archive: {self.shown}: images that do not decode: {count}, but data.max_bad_images: "
                f"{self.limit}. Repair or remove them, or raise data.max_bad_images to skip them:\n  "
                + "\n  ".join(self.named[:NAMED_AT_MOST])
                + rest
            )
