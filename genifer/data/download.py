"""Download of a data set's archive: resumes after an interruption and checks the MD5 at the end."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from genifer.config import DataSettings
from genifer.data.archives import md5_of
from genifer.data.dataset import Dataset
from genifer.errors import GeniferError

TIMEOUT_SECONDS = 30


def download_archive(dataset: type[Dataset], settings: DataSettings, target: Path) -> None:
    """Fetch a data set's archive to ``target``.

    Raises:
        GeniferError: it is not downloaded, or see `download`.
    """
    if dataset.url is None:
        raise GeniferError(
            f"data.dataset: {dataset.name} is not downloaded; set data.archive if it needs a file"
        )
    download(dataset.url, target, settings.archive_md5)


def download(url: str, target: Path, md5: str | None) -> None:
    """Download a file.

    After an interruption, what has arrived stays beside the target as ``<name>.part``, and the next call asks
    the server for the rest only.

    Args:
        url: of the file.
        target: path of the finished file.
        md5: that it must have; None accepts any file.

    Raises:
        GeniferError: there is no network, the server refuses, or the finished file has another MD5.
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
            raise _failed(url, part, f"the server answered {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _failed(url, part, str(getattr(error, "reason", None) or error)) from error
    if md5 is not None and md5_of(part) != md5:
        part.unlink()
        raise GeniferError(
            f"{url}: the downloaded file is corrupt (its MD5 is not {md5}) and was deleted; run the same "
            "command again"
        )
    part.replace(target)


def _failed(url: str, part: Path, reason: str) -> GeniferError:
    kept = f"{part.stat().st_size:,} bytes are kept in {part}. " if part.exists() else ""
    return GeniferError(
        f"{url}: download failed: {reason}. {kept}Run the same command again to continue, or copy the "
        "archive from another machine and set data.archive to its path"
    )
