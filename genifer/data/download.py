"""Downloads of archives and weights, which resume after an interruption and verify a checksum."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from genifer.config import DataSettings
from genifer.data.archives import digest_of
from genifer.data.dataset import Dataset
from genifer.errors import GeniferError
from genifer.nn.torchvision_weights import URLS, sha256_start

TIMEOUT_SECONDS = 30


def download_archive(dataset: type[Dataset], settings: DataSettings, target: Path) -> None:
    """Download a data set's archive to ``target``.

    Raises:
        GeniferError: the data set has no URL, or see `download`.
    """
    if dataset.url is None:
        raise GeniferError(
            f"data.dataset: {dataset.name} has nothing to download; set data.archive if it needs a file"
        )
    md5 = settings.archive_md5
    download(dataset.url, target, None if md5 is None else Digest("md5", md5))


def download_weights(architecture: str, target: Path) -> None:
    """Download torchvision's ImageNet weights of an architecture to ``target``.

    Raises:
        GeniferError: there are none for this architecture, or see `download`.
    """
    if architecture not in URLS:
        raise GeniferError(f"'{architecture}' has no ImageNet weights; there are: {', '.join(URLS)}")
    digest = Digest("sha256", sha256_start(architecture))
    download(URLS[architecture], target, digest, "classifier.pretrained")


class Digest(NamedTuple):
    """The first hexadecimal digits of a file's digest, and its algorithm, named as in `hashlib`."""

    algorithm: str
    start: str

    def fits(self, path: Path) -> bool:
        """Return whether a file has this digest."""
        return digest_of(path, self.algorithm).startswith(self.start)


def download(url: str, target: Path, digest: Digest | None, setting: str = "data.archive") -> None:
    """Download a file.

    After an interruption, the downloaded part stays next to the target as ``<name>.part``, and the next call
    requests only the rest.

    Args:
        url: URL of the file.
        target: path of the finished file.
        digest: required digest; None accepts any file.
        setting: the setting that can name a copy of the file instead, for messages.

    Raises:
        GeniferError: there is no network, the server refuses, or the finished file has another digest.
    """
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
            with part.open("ab" if resumed else "wb") as file:
                shutil.copyfileobj(answer, file, length=1 << 20)
            length = answer.headers.get("Content-Length")
            arrived = part.stat().st_size - (have if resumed else 0)
            if length is not None and arrived < int(length):
                raise http.client.IncompleteRead(b"", int(length) - arrived)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _failed(url, part, setting, f"the server answered {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _failed(url, part, setting, str(getattr(error, "reason", None) or error)) from error
    if digest is not None and not digest.fits(part):
        part.unlink()
        raise GeniferError(
            f"{url}: the downloaded file is corrupt (its {digest.algorithm.upper()} is not {digest.start}) "
            "and was deleted; run the same command again"
        )
    part.replace(target)


def _failed(url: str, part: Path, setting: str, reason: str) -> GeniferError:
    kept = f"{part.stat().st_size:,} bytes are kept in {part}. " if part.exists() else ""
    return GeniferError(
        f"{url}: download failed: {reason}. {kept}Run the same command again to continue, or copy the "
        f"file from another machine and set {setting} to its path"
    )
