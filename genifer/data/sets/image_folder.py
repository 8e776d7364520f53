"""Your own images, in one folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genifer.data.archives import unpacked
from genifer.data.dataset import Arrays, Dataset

if TYPE_CHECKING:
    from genifer.config import DataSettings


class ImageFolder(Dataset):
    """Your own images, in one folder per class."""

    name = "image_folder"
    version = 1
    archive = "required"
    archive_format = "a folder, .tar.gz or .zip with train/<class>/* and test/<class>/* or val/<class>/*"

    @classmethod
    def load(cls, archive: Path, settings: DataSettings) -> Arrays:
        """Decode the images in a folder, or in an archive, which is unpacked to a temporary folder."""
        from genifer.data.class_folders import read_class_folders

        if archive.is_dir():
            return read_class_folders(archive, settings)
        with unpacked(archive, settings.max_unpacked_gb) as folder:
            return read_class_folders(folder, settings, shown=archive)

    @classmethod
    def class_names_in(cls, archive: Path) -> Sequence[str] | None:
        """Return the names of the class folders; None for an archive, which would have to be unpacked."""
        from genifer.data.class_folders import find_classes

        return find_classes(archive)[1] if archive.is_dir() else None
