"""Reading of images that lie in train/<class>/ and test/<class>/."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from genifer.data.dataset import Arrays
from genifer.errors import GeniferError

if TYPE_CHECKING:
    from genifer.config import DataSettings
    from genifer.data.dataset import Images, Labels

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
NAMED_AT_MOST = 10
"""Images or classes that one message names."""


def read_class_folders(root: Path, settings: DataSettings, shown: Path | None = None) -> Arrays:
    """Decode all images, resized to ``image_size`` with ``channels`` channels.

    Args:
        root: holds train/ and test/, or one folder with them.
        settings: ``image_size``, ``channels`` and ``max_bad_images``.
        shown: how messages name the folder, if it is a temporary one.

    Raises:
        GeniferError: a folder is missing or empty, or too many images do not decode.
    """
    shown = shown or root
    root, names = find_classes(root, shown)
    bad = BadImages(shown, settings.max_bad_images)
    train = _read_split(root / "train", names, settings, shown, bad)
    test = _read_split(root / "test", names, settings, shown, bad)
    bad.check()
    return Arrays(names, *train, *test)


def find_classes(root: Path, shown: Path | None = None) -> tuple[Path, list[str]]:
    """Return the folder that holds train/ and test/ (root, or the one folder in it), and the class names.

    Args:
        shown: how messages name the folder, if it is a temporary one.

    Raises:
        GeniferError: there is no train/ or test/, or their classes differ.
    """
    shown = shown or root
    if not (root / "train").is_dir():
        inner = [entry for entry in sorted(root.iterdir()) if (entry / "train").is_dir()]
        if len(inner) == 1:
            root = inner[0]
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise GeniferError(
                f"data.archive: {shown} has no folder '{split}'; it must hold train/<class>/* and "
                "test/<class>/*"
            )
    train, test = _subfolders(root / "train"), _subfolders(root / "test")
    if train != test:
        odd = sorted(set(train) ^ set(test))
        raise GeniferError(
            f"data.archive: {shown}: train/ and test/ must hold the same classes; only one of them has: "
            f"{', '.join(odd[:NAMED_AT_MOST])}"
        )
    return root, train


def _subfolders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _read_split(
    path: Path, names: list[str], settings: DataSettings, shown: Path, bad: BadImages
) -> tuple[Images, Labels]:
    """Decode every image of a split, in the order of class and file name."""
    files: list[Path] = []
    labels: list[int] = []
    skipped = 0
    for label, name in enumerate(names):
        present = sorted(f for f in (path / name).rglob("*") if f.is_file() and not f.name.startswith("."))
        found = [file for file in present if file.suffix.lower() in EXTENSIONS]
        if not found:
            raise GeniferError(
                f"data.archive: {shown}: {path.name}/{name} holds no image ({', '.join(EXTENSIONS)}); add "
                "images, or remove the class from train/ and test/"
            )
        files += found
        labels += [label] * len(found)
        skipped += len(present) - len(found)
    if skipped:
        log.warning("%s: skipped files without an image's extension: %d", path.name, skipped)
    size = settings.image_size
    images = np.empty((len(files), settings.channels, size, size), dtype=np.uint8)
    decoded = np.ones(len(files), dtype=bool)
    for index, file in enumerate(files):
        try:
            images[index] = _decode(file, size, settings.channels)
        except Exception as error:  # Pillow's decoders raise errors of every kind
            bad.add(f"{path.name}/{file.relative_to(path)}", error)
            decoded[index] = False
    return images[decoded], np.asarray(labels, dtype=np.int64)[decoded]


def _decode(file: Path, size: int, channels: int) -> Images:
    """Return an image as (channels, size, size), rotated as its EXIF orientation says."""
    with Image.open(file, formats=FORMATS) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
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
