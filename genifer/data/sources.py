"""Data sets as uint8 arrays: one function a data set, all with the same result."""

from __future__ import annotations

import logging
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from genifer.config import CIFAR100_MD5, DataSettings
from genifer.errors import GeniferError

log = logging.getLogger(__name__)

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")


@dataclass(frozen=True)
class Source:
    """A data set before it is split into tasks.

    Images are (n, channels, size, size); labels are indices into ``class_names``.
    """

    class_names: list[str]
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels


def load_source(settings: DataSettings, downloaded: Path | None) -> Source:
    """Load the data set that the settings name, at the size and channels they ask for.

    Args:
        downloaded: the archive that the download stage left, for data sets that have one.

    Raises:
        GeniferError: the archive is missing or damaged, or an image does not decode.
    """
    if settings.dataset == "digits":
        return _digits(settings)
    if settings.dataset == "cifar100":
        archive = settings.archive or downloaded
        if archive is None:
            raise GeniferError(
                "data.archive is not set and nothing was downloaded; run `genifer download-data` "
                "first, or set data.archive to cifar-100-python.tar.gz"
            )
        return _cifar100(archive, settings)
    assert settings.archive is not None
    return _image_folder(settings.archive, settings)


def _digits(settings: DataSettings) -> Source:
    """1,797 handwritten digits of 8 x 8 pixels; every sixth image of a class is a test image."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    images = _to_size(_to_channels(images[:, None], settings.channels), settings.image_size)
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    position = np.empty(len(labels), dtype=np.int64)
    position[by_class] = np.arange(len(labels)) - starts
    test = position % 6 == 5
    return Source(
        [str(name) for name in digits.target_names],
        images[~test],
        labels[~test],
        images[test],
        labels[test],
    )


def _cifar100(archive: Path, settings: DataSettings) -> Source:
    from torchvision.datasets import CIFAR100
    from torchvision.datasets.utils import check_integrity

    md5 = settings.archive_md5
    if not archive.is_file():
        raise GeniferError(
            f"data.archive: {archive} does not exist; give the path of "
            "cifar-100-python.tar.gz, or null to download it"
        )
    if md5 is not None and not check_integrity(str(archive), md5):
        raise GeniferError(
            f"data.archive: {archive} is corrupt or another file: its MD5 is not {md5}. Delete it and "
            "run again to download it; for another archive of this format that you trust, set "
            "data.archive_md5 to its MD5"
        )

    class Archive(CIFAR100):  # type: ignore[misc]
        tgz_md5 = md5
        if md5 != CIFAR100_MD5:
            train_list = [["train", None]]
            test_list = [["test", None]]
            meta = {"filename": "meta", "key": "fine_label_names", "md5": None}

    with tempfile.TemporaryDirectory(prefix="genifer-") as folder:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            train, test = Archive(folder, train=True), Archive(folder, train=False)
        except (tarfile.TarError, EOFError, OSError, RuntimeError, KeyError, ValueError) as error:
            raise GeniferError(
                f"data.archive: {archive} is not a readable CIFAR-100 archive ({error}); download it again"
            ) from error

    def images(split: CIFAR100) -> Images:
        channels_first = np.ascontiguousarray(split.data.transpose(0, 3, 1, 2))
        return _to_size(_to_channels(channels_first, settings.channels), settings.image_size)

    return Source(
        list(train.classes),
        images(train),
        np.asarray(train.targets, dtype=np.int64),
        images(test),
        np.asarray(test.targets, dtype=np.int64),
    )


def _image_folder(path: Path, settings: DataSettings) -> Source:
    if path.is_dir():
        return _class_folders(path, settings)
    if not path.is_file():
        raise GeniferError(
            f"data.archive: {path} does not exist; give a folder or .tar.gz "
            "with train/<class>/* and test/<class>/*"
        )
    with tempfile.TemporaryDirectory(prefix="genifer-") as folder:
        try:
            with tarfile.open(path) as tar:
                tar.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise GeniferError(
                f"data.archive: {path} is not a readable tar archive ({error}); make or copy it again"
            ) from error
        return _class_folders(Path(folder), settings, shown=path)


def _class_folders(root: Path, settings: DataSettings, shown: Path | None = None) -> Source:
    shown = shown or root
    root, names = class_folders(root, shown)
    train = _read_split(root / "train", names, settings, shown)
    test = _read_split(root / "test", names, settings, shown)
    return Source(names, *train, *test)


def class_folders(root: Path, shown: Path | None = None) -> tuple[Path, list[str]]:
    """The folder that holds train/ and test/ (root, or the one folder in it), and the class names.

    Args:
        shown: how messages name the folder, where it is a temporary one.
    """
    shown = shown or root
    if not (root / "train").is_dir():
        inner = [entry for entry in sorted(root.iterdir()) if (entry / "train").is_dir()]
        if len(inner) == 1:
            root = inner[0]
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise GeniferError(
                f"data.archive: {shown} has no folder '{split}'; it must hold "
                "train/<class>/* and test/<class>/*"
            )
    train, test = _folders(root / "train"), _folders(root / "test")
    if train != test:
        odd = sorted(set(train) ^ set(test))
        raise GeniferError(
            f"data.archive: {shown}: train/ and test/ must hold the same classes; "
            f"only one of them has: {', '.join(odd[:10])}"
        )
    return root, train


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _read_split(path: Path, names: list[str], settings: DataSettings, shown: Path) -> tuple[Images, Labels]:
    """Decode every image of a split, in the order of class and file name."""
    files: list[Path] = []
    labels: list[int] = []
    skipped = 0
    for label, name in enumerate(names):
        there = sorted(f for f in (path / name).rglob("*") if f.is_file() and not f.name.startswith("."))
        found = [file for file in there if file.suffix.lower() in EXTENSIONS]
        if not found:
            raise GeniferError(
                f"data.archive: {shown}: {path.name}/{name} holds no image ({', '.join(EXTENSIONS)})"
            )
        files += found
        labels += [label] * len(found)
        skipped += len(there) - len(found)
    if skipped:
        log.warning("%s: %d files are no images by their names, and were left out", path.name, skipped)
    size = settings.image_size
    images = np.empty((len(files), settings.channels, size, size), dtype=np.uint8)
    for index, file in enumerate(files):
        try:
            images[index] = _decode(file, size, settings.channels)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise GeniferError(
                f"data.archive: {shown}: {path.name}/{file.relative_to(path)} does not decode as an image "
                f"({error}); mend or remove it"
            ) from error
    return images, np.asarray(labels, dtype=np.int64)


def _decode(file: Path, size: int, channels: int) -> Images:
    """One image, turned as its camera says, as (channels, size, size)."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _to_channels(images: Images, channels: int) -> Images:
    """Grey to RGB by repetition; RGB to grey by luma (ITU-R BT.601)."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.rint(np.einsum("nchw,c->nhw", images, weights)).astype(np.uint8)[:, None]


def _to_size(images: Images, size: int) -> Images:
    """Resize a whole array at once, bilinear, smoothed where it shrinks."""
    if images.shape[-1] == size:
        return images
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(images).float(), (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized.round_().clamp_(0, 255).to(torch.uint8).numpy()
