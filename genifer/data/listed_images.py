"""Reading of image files that are listed, with their classes, in tables of an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genifer.data.archives import missing_file
from genifer.data.image_files import BadImages, read_images
from genifer.errors import GeniferError

if TYPE_CHECKING:
    from genifer.config import DataSettings
    from genifer.data.dataset import Images, Labels


class ListedImages:
    """The files of an unpacked archive.

    Its methods raise a `GeniferError` if a file is missing or a table does not follow its format.

    Args:
        root: folder of the unpacked files.
        archive: path of the archive, for messages.
        settings: ``image_size``, ``channels`` and ``max_bad_images``.
    """

    def __init__(self, root: Path, archive: Path, settings: DataSettings) -> None:
        self.root = root
        self.archive = archive
        self.settings = settings
        self.bad = BadImages(archive, settings.max_bad_images)

    def table(self, name: str, columns: int) -> list[list[str]]:
        """Return the rows of a text file whose columns are separated by white space.

        Args:
            name: path inside the archive.
            columns: number of columns to return; the file may have more.
        """
        path = self.root / name
        if not path.is_file():
            raise missing_file(self.archive, name)
        rows = []
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            row = line.split()
            if row and len(row) < columns:
                raise GeniferError(
                    f"data.archive: {self.archive}: line {number} of {name} has {len(row)} columns, but must "
                    f"have {columns}; copy or download the archive again"
                )
            rows += [row[:columns]] if row else []
        if not rows:
            raise GeniferError(
                f"data.archive: {self.archive}: {name} is empty; copy or download the archive again"
            )
        return rows

    def read(
        self, listed: Sequence[tuple[str, str]], classes: Mapping[str, int], *, crop: bool = False
    ) -> tuple[Images, Labels]:
        """Decode the listed images.

        Args:
            listed: path inside the archive and class of each image.
            classes: label of each class.
            crop: see `read_images`.

        Returns:
            Images (n, channels, size, size) and labels (n,).
        """
        for name, known in listed:
            if known not in classes:
                raise GeniferError(
                    f"data.archive: {self.archive}: image {name} is of class '{known}', which is not in the "
                    "archive's list of classes; copy or download the archive again"
                )
            if ".." in Path(name).parts or not (self.root / name).is_file():
                raise missing_file(self.archive, name)
        files = [self.root / name for name, _ in listed]
        labels = [classes[known] for _, known in listed]
        return read_images(self.root, files, labels, self.settings, self.bad, crop=crop)
