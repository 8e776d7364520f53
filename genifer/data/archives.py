"""Safe reading and unpacking of archives from untrusted sources, and their MD5."""

from __future__ import annotations

import errno
import hashlib
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from genifer.errors import GeniferError

Parsed = TypeVar("Parsed")

GIGABYTE = 10**9
BLOCK = 4096
"""Minimum space that a file takes on disk, in bytes."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    OSError,
    zlib.error,
    ValueError,
    KeyError,
    OverflowError,
    NotImplementedError,
)
"""Exceptions raised on reading a damaged archive. bz2 and lzma raise OSError and EOFError; zipfile raises
NotImplementedError for an unknown compression."""

ZIP = b"PK"
"""First bytes of a zip archive."""

ENCRYPTED = 1
"""Bit in the flags of a zip entry."""


def md5_of(path: Path) -> str:
    """Return the MD5 of a file as hexadecimal digits."""
    return digest_of(path, "md5")


def digest_of(path: Path, algorithm: str) -> str:
    """Return the digest of a file, by an algorithm of `hashlib`, as hexadecimal digits."""
    with path.open("rb") as file:
        # Some machines forbid MD5 for security, but allow it to detect damage.
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


class Archive:
    """A tar or zip archive, compressed or not, that holds only folders and plain files.

    Its methods raise a `GeniferError` if the archive is damaged, unpacks to more than the limit, or holds a
    link, a device, an absolute path, or a path that leads out of its folder.

    Args:
        path: path of the archive.
        max_unpacked_gb: largest allowed total size of its files, in GB.
    """

    opened: tarfile.TarFile | zipfile.ZipFile

    def __init__(self, path: Path, max_unpacked_gb: float) -> None:
        self.path = path
        self.max_unpacked_gb = max_unpacked_gb
        self.unpacked = 0

    def __enter__(self) -> Archive:
        try:
            with self.path.open("rb") as file:
                is_zip = file.read(len(ZIP)) == ZIP
            self.opened = zipfile.ZipFile(self.path) if is_zip else tarfile.open(self.path)
        except DAMAGED as error:
            raise self._damaged(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.opened.close()

    def read(self, names: Sequence[str], parse: Callable[[IO[bytes]], Parsed]) -> list[Parsed]:
        """Parse some of its files without unpacking the archive.

        Args:
            names: paths inside the archive.
            parse: reads one open file.

        Returns:
            What ``parse`` returned for each file, in the order of ``names``.

        Raises:
            GeniferError: a file is missing, or see the class.
        """
        try:
            contents = {name: parse(file) for name, file in self._files() if name in names}
        except DAMAGED as error:
            raise self._damaged(error) from error
        for name in names:
            if name not in contents:
                raise missing_file(self.path, name)
        return [contents[name] for name in names]

    def unpack(self, folder: Path) -> None:
        """Write its files to a folder.

        Raises:
            GeniferError: the disk is full, or see the class.
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
        if isinstance(self.opened, zipfile.ZipFile):
            return self._files_of_zip(self.opened)
        return self._files_of_tar(self.opened)

    def _files_of_tar(self, tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
        for member in tar:
            self._check(member.name, member.size)
            if member.isdir():
                continue
            file = tar.extractfile(member) if member.isreg() else None
            if file is None:
                raise self._refused(
                    member.name,
                    "is a link or a device; tar --dereference packs the files behind links instead",
                )
            yield member.name, file
        # tarfile takes a damaged header for the end of the archive, which is a block of zeros. The checksum
        # of a compressed stream is only verified once everything has been read.
        stream = tar.fileobj
        assert stream is not None
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")
        while rest := stream.read(1 << 20):
            self._count(len(rest))

    def _files_of_zip(self, opened: zipfile.ZipFile) -> Iterator[tuple[str, IO[bytes]]]:
        for entry in opened.infolist():
            # zipfile reads no more than this size, however much is packed in the entry.
            self._check(entry.filename, entry.file_size)
            if entry.is_dir():
                continue
            mode = entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise self._refused(entry.filename, "is a link or a device; zip packs the files behind links")
            if entry.flag_bits & ENCRYPTED:
                raise self._refused(entry.filename, "is encrypted")
            with closing(opened.open(entry)) as file:
                yield entry.filename, file

    def _check(self, name: str, size: int) -> None:
        """Raise an error if an entry lies outside the folder, or the archive gets too large."""
        self._count(max(size, BLOCK))
        path = Path(name)
        if path.is_absolute() or ".." in path.parts:
            raise self._refused(name, "lies outside the archive's folder")

    def _count(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self.max_unpacked_gb * GIGABYTE:
            raise GeniferError(
                f"data.archive: {self.path} unpacks to more than data.max_unpacked_gb: "
                f"{self.max_unpacked_gb:g}; raise it if you trust this archive and the disk has room"
            )

    def _refused(self, name: str, why: str) -> GeniferError:
        return GeniferError(
            f"data.archive: {self.path} is refused: its entry '{name}' {why}; pack the data again"
        )

    def _damaged(self, error: Exception) -> GeniferError:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        return GeniferError(
            f"data.archive: {self.path} is not a readable tar or zip archive ({reason}); make or copy it "
            "again"
        )


@contextmanager
def unpacked(archive: Path, max_unpacked_gb: float) -> Iterator[Path]:
    """Unpack an archive to a temporary folder, which is removed afterwards.

    Raises:
        GeniferError: see `Archive`; also if the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="genifer-") as folder:
        with Archive(archive, max_unpacked_gb) as opened:
            opened.unpack(Path(folder))
        yield Path(folder)


def missing_file(archive: Path, name: str) -> GeniferError:
    """Return the error for an archive without a file that its format requires."""
    return GeniferError(
        f"data.archive: {archive} has no file '{name}', so it is not the archive that data.dataset names; "
        "use the publisher's archive unchanged, or set data.archive: null to download it"
    )
