"""Snakemake's default storage, a shared folder or an object store: files in it, and their local copies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genifer.errors import GeniferError


@dataclass(frozen=True)
class Storage:
    """Snakemake's default storage.

    Attributes:
        plugin: name of the storage plugin, such as s3.
        prefix: Snakemake's ``--default-storage-prefix``.
        provider: the plugin's ``StorageProvider``. Its files raise errors of many kinds, such as boto3's.
    """

    plugin: str
    prefix: str
    provider: Any

    def copy_of(self, path: str | Path) -> Path:
        """Return where Snakemake puts the local copy of a file.

        Args:
            path: of the file in the storage, without the prefix; also in the other methods.
        """
        return Path(self._file(path).local_path())

    def has(self, path: str | Path) -> bool:
        """Return whether a file is in the storage.

        Raises:
            GeniferError: the storage refuses, or its prefix is not valid; also in the other methods.
        """
        file = self._file(path)
        with self._explained("cannot be read"):
            return bool(file.exists())

    def fetch(self, path: str | Path) -> bool:
        """Replace the local copy of a file by the file in the storage, or delete it if there is none.

        Returns:
            Whether the file is in the storage.
        """
        copy = self.copy_of(path)
        copy.unlink(missing_ok=True)
        if not self.has(path):
            return False
        file = self._file(path)
        with self._explained("cannot be read"):
            copy.parent.mkdir(parents=True, exist_ok=True)
            file.retrieve_object()
        return True

    def store(self, path: str | Path) -> None:
        """Copy the local copy of a file to the storage."""
        file = self._file(path)
        with self._explained("cannot be written"):
            file.store_object()

    def _file(self, path: str | Path) -> Any:
        separator = "/" if self.prefix and not self.prefix.endswith("/") else ""
        file = self.provider.object(f"{self.prefix}{separator}{path}")
        validity = file.is_valid_query()
        if not validity:
            raise GeniferError(
                f"default-storage-prefix: '{self.prefix}' does not fit default-storage-provider: "
                f"{self.plugin}: the prefix {validity.reason}. Correct it in the profile or on the command "
                "line (docs/share-results.md)"
            )
        return file

    @contextmanager
    def _explained(self, problem: str) -> Iterator[None]:
        """Context manager: turn every error into a message that names the storage."""
        try:
            yield
        except Exception as error:
            address = getattr(self.provider.settings, "endpoint_url", None)
            reason = " ".join(str(error).split()) or type(error).__name__
            raise GeniferError(
                f"the storage {self.provider.safe_print(self.prefix)}{f' at {address}' if address else ''} "
                f"{problem}: {reason}. Check default-storage-prefix, the options that begin with "
                f"storage-{self.plugin}, and your permission to read and write there "
                "(docs/share-results.md); then run the same command again"
            ) from error
