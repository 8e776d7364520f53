"""Archives that nobody has looked at: read or unpacked without harm."""

from __future__ import annotations

import errno
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
"""Bytes that a file takes on the disk at least."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, KeyError, OverflowError)
"""What reading a damaged archive raises; bz2 and lzma raise OSError and EOFError."""


class Archive:
    """A tar archive, compressed or not, of which folders and plain files are taken and nothing else.

    Args:
        max_unpacked_gb: it may unpack to so much.

    Raises:
        GeniferError: the archive is damaged, too large, or holds a link, a device, an absolute name
            or one outside of its folder.
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
        """What is parsed from some of its files, straight from the archive."""
        try:
            contents = {name: parse(file) for name, file in self._files() if name in names}
            return [contents[name] for name in names]
        except DAMAGED as error:
            raise self._damaged(error) from error

    def unpack(self, folder: Path) -> None:
        """Write its files to a folder."""
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
        """Name and content of every file, after a look at its name and size."""
        for member in self.tar:
            self._count(max(member.size, BLOCK))
            name = Path(member.name)
            if name.is_absolute() or ".." in name.parts:
                raise self._refused(member, "lies outside of the archive's folder")
            if member.isdir():
                continue
            file = self.tar.extractfile(member) if member.isreg() else None
            if file is None:
                raise self._refused(
                    member, "is a link or a device, not a file (tar --dereference packs files)"
                )
            yield member.name, file
        # tarfile takes a damaged header for the end, which in truth is a block of zeros. Compressed
        # streams end with a checksum, which is looked at when all is read.
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
            f"data.archive: {self.path} is refused: its entry '{member.name}' {why}; pack the data anew"
        )

    def _damaged(self, error: Exception) -> GeniferError:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        return GeniferError(
            f"data.archive: {self.path} is not a readable tar archive ({reason}); make or copy it again"
        )
