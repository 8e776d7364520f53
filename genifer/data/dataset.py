"""The base class of all data sets: its name, where it comes from, how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from genifer.config import DataSettings

    Images = NDArray[np.uint8]
    Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Arrays:
    """A whole data set, before it is split into tasks.

    Attributes:
        class_names: one name per class.
        train_images, test_images: (n, channels, size, size), uint8: 1 or 3 channels, all of the same size.
        train_labels, test_labels: (n,), integers: indices into ``class_names``.
    """

    class_names: Sequence[str]
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels


class Dataset:
    """A data set that run files can name; the preparation takes care of tasks, sizes, channels and checksums.

    The first line of its docstring describes it in ``config/config.yaml``.

    Class attributes:
        name: its name in run files: lower-case letters, digits and underscores.
        version: raise it when `load` returns other arrays. For a plugin, the hash of its file is added.
        classes: number of classes, if it never changes.
        images: number of images, training plus test, if it never changes; for estimates of disk space.
        channels: channels of its images, 1 or 3; they are converted to ``data.channels``.
        mean, std: per channel (0..1), for ``data.mean: default`` and ``data.std: default``. None: compute
            them from the first task.
        archive: ``none``: it needs no file; ``required``: ``data.archive`` must name one; ``download``: it is
            downloaded from ``url``, unless ``data.archive`` names a copy.
        archive_format: description of the required archive, for messages.
        url, md5: URL and MD5 of the archive, for ``download``.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    classes: ClassVar[int | None] = None
    images: ClassVar[int | None] = None
    channels: ClassVar[int] = 3
    mean: ClassVar[Sequence[float] | None] = None
    std: ClassVar[Sequence[float] | None] = None
    archive: ClassVar[Literal["none", "required", "download"]] = "none"
    archive_format: ClassVar[str] = "a file or folder"
    url: ClassVar[str | None] = None
    md5: ClassVar[str | None] = None
    source_hash: ClassVar[str | None] = None
    """Hash of a plugin's file; set on registration."""

    @classmethod
    def load(cls, archive: Any, settings: DataSettings) -> Arrays:  # noqa: ARG003
        """Read the data set.

        It must return the same arrays every time, without test images among the training images.

        Args:
            archive: path of ``data.archive`` or of the downloaded file, which exists and has the right MD5;
                None if ``archive`` is ``none``.
            settings: ``image_size`` and ``channels``, for data sets with images of various sizes.

        Raises:
            GeniferError: the archive cannot be read; the message names the file and the next step.
        """
        raise TypeError(f"{cls.__name__} does not define load(archive, settings)")

    @classmethod
    def class_names_in(cls, archive: Path) -> Sequence[str] | None:  # noqa: ARG003
        """Return the class names if they are quick to read, to check the scenario before a run; else None."""
        return None

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or cls.name).strip().splitlines()[0]

    @classmethod
    def version_text(cls) -> int | str:
        """Return the version; for a plugin, with the hash of its file."""
        return cls.version if cls.source_hash is None else f"{cls.version}+{cls.source_hash}"

    @classmethod
    def download_name(cls) -> str:
        """Return the file name of the archive: the last part of the URL, without a query."""
        return urlsplit(cls.url or "").path.rpartition("/")[2] or cls.name
