"""Reading of images in folders train/<class>/ and test/<class>/ or val/<class>/."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from genifer.data.dataset import Arrays
from genifer.data.image_files import EXTENSIONS, NAMED_AT_MOST, BadImages, read_images
from genifer.errors import GeniferError

if TYPE_CHECKING:
    from genifer.config import DataSettings
    from genifer.data.dataset import Images, Labels

log = logging.getLogger(__name__)


def read_class_folders(root: Path, settings: DataSettings, shown: Path | None = None) -> Arrays:
    """Decode all images, resized to ``image_size`` with ``channels`` channels.

    Args:
        root: folder with train/ and test/ or val/, or with a single folder that holds them.
        settings: ``image_size``, ``channels`` and ``max_bad_images``.
        shown: path to show in messages, if the folder is a temporary one.

    Raises:
        GeniferError: a folder is missing or empty, or too many images do not decode.
    """
    shown = shown or root
    root, names = find_classes(root, shown)
    bad = BadImages(shown, settings.max_bad_images)
    train = _read_split(root / "train", names, settings, shown, bad)
    test = _read_split(_test_folder(root), names, settings, shown, bad)
    bad.check()
    return Arrays(names, *train, *test)


def find_classes(root: Path, shown: Path | None = None) -> tuple[Path, list[str]]:
    """Return the folder that holds train/ and the test images, and the class names.

    The folder is ``root``, or the single folder in it that holds train/.

    Args:
        shown: path to show in messages, if the folder is a temporary one.

    Raises:
        GeniferError: there are no training or test images, they are not in class folders, or their classes
            differ.
    """
    shown = shown or root
    if not (root / "train").is_dir():
        inner = [entry for entry in sorted(root.iterdir()) if (entry / "train").is_dir()]
        if len(inner) == 1:
            root = inner[0]
    test_folder = _test_folder(root)
    for split, folder in (("train", root / "train"), ("test' or 'val", test_folder)):
        if not folder.is_dir():
            raise GeniferError(
                f"data.archive: {shown} has no folder '{split}'; it must hold train/<class>/* and "
                "test/<class>/* or val/<class>/*"
            )
    train, test = _subfolders(root / "train"), _subfolders(test_folder)
    for split, classes in (("train", train), (test_folder.name, test)):
        if not classes:
            raise GeniferError(
                f"data.archive: {shown}: {split}/ has no class folders; sort its images into one folder per "
                f"class, {split}/<class>/*"
            )
    if train != test:
        odd = sorted(set(train) ^ set(test))
        raise GeniferError(
            f"data.archive: {shown}: train/ and {test_folder.name}/ must hold the same classes; these are in "
            f"only one of them: {', '.join(odd[:NAMED_AT_MOST])}. Add them to the other, or remove them"
        )
    return root, train


def _test_folder(root: Path) -> Path:
    """Return the folder of the test images: test/, or val/ if test/ has no class folders, as in ImageNet."""
    test, val = root / "test", root / "val"
    has_classes = test.is_dir() and bool(_subfolders(test))
    return test if has_classes or not val.is_dir() else val


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
                "images, or remove the class from both splits"
            )
        files += found
        labels += [label] * len(found)
        skipped += len(present) - len(found)
    if skipped:
        log.warning("%s: skipped files without an image extension: %d", path.name, skipped)
    return read_images(path.parent, files, labels, settings, bad)
