"""Atomic writing of files: they appear complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genifer.errors import GeniferError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Context manager: give a temporary path next to ``path``; on success, flush it to disk and rename it.

    Raises:
        GeniferError: the file cannot be written (disk full, folder not writable).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise _cannot_write(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> GeniferError:
    return GeniferError(
        f"{path}: cannot be written ({error.strerror or error}); nothing was left half-written. "
        "Free space or fix the folder's permissions, then run the same command again"
    )
