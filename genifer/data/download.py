"""Download of the CIFAR-100 archive: goes on where it stopped, checked at the end."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from torchvision.datasets import CIFAR100
from torchvision.datasets.utils import check_integrity

from genifer.errors import GeniferError

TIMEOUT_SECONDS = 30


def download_cifar100(target: Path, md5: str | None, url: str = CIFAR100.url) -> None:
    """Fetch the archive to ``target``.

    What arrived before an interruption stays beside the target as ``<name>.part``
    and the next call asks the server for the rest only.

    Raises:
        GeniferError: no network, the server refuses, or the finished file's MD5 is wrong.
    """
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
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
    except (OSError, http.client.HTTPException) as error:
        raise _failed(url, part, str(getattr(error, "reason", None) or error)) from error
    if md5 is not None and not check_integrity(str(part), md5):
        part.unlink()
        raise GeniferError(
            f"{url}: what arrived is corrupt (its MD5 is not {md5}) and was deleted; "
            "run the same command again"
        )
    part.replace(target)


def _failed(url: str, part: Path, reason: str) -> GeniferError:
    kept = f"{part.stat().st_size:,} bytes are kept in {part}. " if part.exists() else ""
    return GeniferError(
        f"{url}: download failed: {reason}. {kept}Run the same command again to go on, or copy the archive "
        "here from another machine and set data.archive to its path"
    )
