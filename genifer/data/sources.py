"""Data sets as uint8 arrays: one function a data set, all with the same result."""

from __future__ import annotations

import hashlib
import logging
import pickle
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from genifer.config import DataSettings
from genifer.data.archives import Archive
from genifer.errors import GeniferError

log = logging.getLogger(__name__)

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
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


def _cifar100(path: Path, settings: DataSettings) -> Source:
    md5 = settings.archive_md5
    if not path.is_file():
        raise GeniferError(
            f"data.archive: {path} does not exist; give the path of "
            "cifar-100-python.tar.gz, or null to download it"
        )
    if md5 is not None and _md5(path) != md5:
        raise GeniferError(
            f"data.archive: {path} is corrupt or another file: its MD5 is not {md5}. Delete it and "
            "run again to download it; for another archive of this format set data.archive_md5 to its "
            "MD5, or to null"
        )
    try:
        with Archive(path, settings.max_unpacked_gb) as archive:
            files = [f"cifar-100-python/{name}" for name in ("train", "test", "meta")]
            train, test, meta = archive.read(files, _unpickled)
        names = [_text(name) for name in meta["fine_label_names"]]
        return Source(names, *_of_cifar(train, names, settings), *_of_cifar(test, names, settings))
    except GeniferError:
        raise
    except Exception as error:  # unpickling damaged bytes raises errors of every kind
        raise GeniferError(
            f"data.archive: {path} is not a readable CIFAR-100 archive ({type(error).__name__}: {error}); "
            "download it again"
        ) from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _unpickled(file: IO[bytes]) -> dict[str, Any]:
    """One of the archive's pickles. Python 2 wrote its strings as bytes, of which arrays are then no copy."""
    content = _NumbersAndNames(file, encoding="bytes").load()
    return {_text(key): value for key, value in content.items()}


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _of_cifar(split: dict[str, Any], names: list[str], settings: DataSettings) -> tuple[Images, Labels]:
    """Images and labels of one of the archive's pickles: rows of 3 x 32 x 32 bytes."""
    images = np.asarray(split["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    labels = np.asarray(split["fine_labels"], dtype=np.int64)
    if len(labels) != len(images) or not ((labels >= 0) & (labels < len(names))).all():
        raise ValueError(f"{len(images)} images do not fit their labels")
    return _to_size(_to_channels(images, settings.channels), settings.image_size), labels


class _NumbersAndNames(pickle.Unpickler):
    """Reads pickles of NumPy arrays and plain Python data; refuses to run anything else of them."""

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


def _image_folder(path: Path, settings: DataSettings) -> Source:
    if path.is_dir():
        return _class_folders(path, settings)
    if not path.is_file():
        raise GeniferError(
            f"data.archive: {path} does not exist; give a folder or .tar.gz "
            "with train/<class>/* and test/<class>/*"
        )
    with tempfile.TemporaryDirectory(prefix="genifer-") as folder:
        with Archive(path, settings.max_unpacked_gb) as archive:
            archive.unpack(Path(folder))
        return _class_folders(Path(folder), settings, shown=path)


def _class_folders(root: Path, settings: DataSettings, shown: Path | None = None) -> Source:
    shown = shown or root
    root, names = class_folders(root, shown)
    bad = BadImages(shown, settings.max_bad_images)
    train = _read_split(root / "train", names, settings, shown, bad)
    test = _read_split(root / "test", names, settings, shown, bad)
    bad.judge()
    return Source(names, *train, *test)


class BadImages:
    """Images that do not decode: each is named, and more than a limit are too many."""

    def __init__(self, shown: Path, limit: int) -> None:
        self.shown = shown
        self.limit = limit
        self.named: list[str] = []

    def add(self, name: str, error: Exception) -> None:
        self.named.append(f"{name} ({error})")
        if len(self.named) <= self.limit:
            log.warning("%s: left out, it does not decode as an image: %s", self.shown, self.named[-1])

    def judge(self) -> None:
        count, shown = len(self.named), 10
        if count > self.limit:
            more = f"\n  and {count - shown} more" if count > shown else ""
            raise GeniferError(
                f"data.archive: {self.shown}: images that do not decode: {count}; data.max_bad_images: "
                f"{self.limit} are allowed. Mend or remove them, or raise it to leave them out:\n  "
                + "\n  ".join(self.named[:shown])
                + more
            )


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


def _read_split(
    path: Path, names: list[str], settings: DataSettings, shown: Path, bad: BadImages
) -> tuple[Images, Labels]:
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
    decoded = np.ones(len(files), dtype=bool)
    for index, file in enumerate(files):
        try:
            images[index] = _decode(file, size, settings.channels)
        except Exception as error:  # Pillow's decoders raise errors of every kind
            bad.add(f"{path.name}/{file.relative_to(path)}", error)
            decoded[index] = False
    return images[decoded], np.asarray(labels, dtype=np.int64)[decoded]


def _decode(file: Path, size: int, channels: int) -> Images:
    """One image, turned as its camera says, as (channels, size, size)."""
    with Image.open(file, formats=FORMATS) as opened:
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
