"""Loading of a data set: finds and checks its archive, and checks the arrays that its code returns."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genifer.config import DataSettings
from genifer.data.archives import md5_of
from genifer.data.dataset import Arrays, Dataset
from genifer.data.images import check_arrays, to_channels, to_size
from genifer.errors import GeniferError

if TYPE_CHECKING:
    from genifer.data.dataset import Images


def load_arrays(dataset: type[Dataset], data: DataSettings, downloaded: Path | None) -> Arrays:
    """Load a data set, check it, and convert its images to the channels and size of the run.

    Args:
        dataset: the data set that the settings name.
        data: settings with the data set's own values in place of ``default``.
        downloaded: the downloaded archive, if there is one; ``data.archive`` takes precedence.

    Returns:
        Images (n, ``data.channels``, ``data.image_size``, ``data.image_size``) and labels (n,) int64.

    Raises:
        GeniferError: the archive is missing, damaged or the wrong file, or the data set's code fails or
            returns something that does not fit `Arrays`.
    """
    archive = find_archive(dataset, data, downloaded)
    with errors_explained(dataset, archive):
        loaded = dataset.load(archive, data)
    try:
        arrays = check_arrays(loaded)
    except ValueError as error:
        source = f", read from {archive}" if archive is not None else ""
        raise GeniferError(f"data.dataset: {_name_and_place(dataset)}{source}: {error}") from None
    return Arrays(
        arrays.class_names,
        _converted(arrays.train_images, data),
        arrays.train_labels.astype(np.int64, copy=False),
        _converted(arrays.test_images, data),
        arrays.test_labels.astype(np.int64, copy=False),
    )


def find_archive(dataset: type[Dataset], data: DataSettings, downloaded: Path | None) -> Path | None:
    """Return the file or folder to read a data set from; None if it needs no file.

    Raises:
        GeniferError: the archive is missing, or its MD5 is not ``data.archive_md5``.
    """
    if dataset.archive == "none":
        return None
    archive, md5 = data.archive or downloaded, data.archive_md5
    can_download = dataset.archive == "download"
    if archive is None:
        first = "; run `genifer download-data` first, or" if can_download else ";"
        raise GeniferError(f"data.archive is not set{first} set it to the path of {dataset.archive_format}")
    if not archive.exists():
        otherwise = ", or null to download it" if can_download else ""
        raise GeniferError(
            f"data.archive: {archive} does not exist; give the path of {dataset.archive_format}{otherwise}"
        )
    if md5 is not None and archive.is_file() and md5_of(archive) != md5:
        again = "Delete it and run again to download it" if can_download else "Copy it again"
        raise GeniferError(
            f"data.archive: {archive} is corrupt or another file: its MD5 is not {md5}. {again}; for another "
            "archive of this format set data.archive_md5 to its MD5, or to null"
        )
    return archive


def _converted(images: Images, data: DataSettings) -> Images:
    return to_size(to_channels(np.ascontiguousarray(images), data.channels), data.image_size)


@contextmanager
def errors_explained(dataset: type[Dataset], archive: Path | None) -> Iterator[None]:
    """Context manager: turn exceptions of a data set's own code into a `GeniferError`.

    The message names the data set, its archive and the exception; for a plugin, also the file and line.
    """
    try:
        yield
    except GeniferError:
        raise
    except Exception as error:
        file = _plugin_file(dataset)
        place = _name_and_place(dataset, error)
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        if archive is None:
            hint = f"; correct {file}" if file else ""
            raise GeniferError(f"data.dataset: {place} fails: {reason}{hint}") from error
        hint = f"; if it is, correct {file}" if file else ""
        raise GeniferError(
            f"data.archive: {archive} cannot be read by data set {place}: {reason}. It must be "
            f"{dataset.archive_format}{hint}"
        ) from error


def _name_and_place(dataset: type[Dataset], error: Exception | None = None) -> str:
    """Return the data set's name; for a plugin, with its file and the line of an error."""
    file = _plugin_file(dataset)
    if file is None:
        return dataset.name
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    lines = [frame.lineno for frame in frames if os.path.relpath(frame.filename) == file]
    return f"{dataset.name} ({file}, line {lines[-1]})" if lines else f"{dataset.name} ({file})"


def _plugin_file(dataset: type[Dataset]) -> str | None:
    """Return the path of a plugin's file, relative to the working folder."""
    return os.path.relpath(inspect.getfile(dataset)) if dataset.source_hash is not None else None
