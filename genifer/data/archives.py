"""Safe reading and unpacking of archives from unknown sources, and their MD5."""

from __future__ import annotations

import errno
import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from genifer.errors import GeniferError

Parsed = TypeVar("Parsed")

GIGABYTE = 10**9
BLOCK = 4096
"""Smallest space of a file on disk, in bytes."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, KeyError, OverflowError)
"""What reading a damaged archive raises; bz2 and lzma raise OSError and EOFError."""


def md5_of(path: Path) -> str:
    """Return the MD5 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class Archive:
    """A tar archive, compressed or not, that may hold folders and plain files only.

    Its methods raise a `GeniferError` if the archive is damaged, unpacks to more than the limit, or holds a
    link, a device, or a path that is absolute or leads out of its folder.

    Args:
        path: of the archive.
        max_unpacked_gb: largest total size of its files, in GB.
    """

    def __init__(self, path: Path, max_unpacked_gb: float) -> None:
        self.path = path
        self.max_unpacked_gb = max_unpacked_gb
        self.unpacked = 0

    def __enter__(self) -> Archive:
        try:
            self.tar = tarfile.open(self.path)
        except DAMAGED as error:
            raise self._damaged(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.tar.close()

    def read(self, names: Sequence[str], parse: Callable[[IO[bytes]], Parsed]) -> list[Parsed]:
        """Parse some of its files without unpacking the archive.

        Args:
            names: paths inside the archive.
            parse: reads one open file.

        Returns:
            What was parsed, in the order of ``names``.
        """
        try:
            contents = {name: parse(file) for name, file in self._files() if name in names}
            return [contents[name] for name in names]
        except DAMAGED as error:
            raise self._damaged(error) from error

    def unpack(self, folder: Path) -> None:
        """Write its files to a folder.

        Raises:
            GeniferError: also if the disk is full.
        """
        try:
            for name, content in self._files():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise GeniferError(
                    f"data.archive: {self.path} cannot be unpacked to {folder} ({error.strerror}); free "
                    "space, or set the environment variable TMPDIR to a folder on a larger disk"
                ) from error
            raise self._damaged(error) from error

    def _files(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Yield the name and content of every file, after checking its name and size."""
        for member in self.tar:
            self._count(max(member.size, BLOCK))
            name = Path(member.name)
            if name.is_absolute() or ".." in name.parts:
                raise self._refused(member, "lies outside the archive's folder")
            if member.isdir():
                continue
            file = self.tar.extractfile(member) if member.isreg() else None
            if file is None:
                raise self._refused(
                    member, "is a link or a device; tar --dereference packs the files behind links instead"
                )
            yield member.name, file
        # tarfile stops at a damaged header as if it were the end, which is a block of zeros. The checksum of
        # a compressed stream is only verified once everything is read.
        stream = self.tar.fileobj
        assert stream is not None
        stream.seek(self.tar.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")
        while rest := stream.read(1 << 20):
            self._count(len(rest))

    def _count(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self.max_unpacked_gb * GIGABYTE:
            raise GeniferError(
                f"data.archive: {self.path} unpacks to more than data.max_unpacked_gb: "
                f"{self.max_unpacked_gb:g}; raise it if you trust this archive and the disk has room"
            )

    def _refused(self, member: tarfile.TarInfo, why: str) -> GeniferError:
        return GeniferError(
            f"data.archive: {self.path} is refused: its entry '{member.name}' {why}; pack the data again"
        )

    def _damaged(self, error: Exception) -> GeniferError:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        return GeniferError(
            f"data.archive: {self.path} is not a readable tar archive ({reason}); make or copy it again"
        )
