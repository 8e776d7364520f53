"""The environment of a run: commit of the code, packages, machine and command."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from genifer.runtime.gpus import listed_gpus
from genifer.runtime.status import cpu_name

SECRET = re.compile(r"key|secret|token|password|credential", re.IGNORECASE)
"""Command-line options whose values are not recorded."""

HIDDEN = "..."

CHANGED_AT_MOST = 50
"""Number of changed files to list."""

GIT_SECONDS = 20.0


def environment() -> dict[str, Any]:
    """Return Python, operating system, machine and the version of each installed package."""
    packages = {str(each.metadata["Name"]): each.version for each in reversed(list(distributions()))}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": cpu_name(),
        "gpus": [gpu.model for gpu in listed_gpus()[0]],
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def source_of(checkout: Path | None) -> dict[str, Any]:
    """Return the commit of the code, whether files have changed since, and the address of the repository.

    Args:
        checkout: the folder of the code; None if the package is installed instead.

    Returns:
        An object whose ``commit`` is None if it is unknown: the code is in no git repository, or git is
        missing.
    """
    if checkout is None:
        return _source_of_package()
    # Code unpacked inside another project's repository does not belong to that project's commits.
    if _git(checkout, "ls-files", "--error-unmatch", "genifer/__init__.py") is None:
        return {"commit": None}
    commit, status = _git(checkout, "rev-parse", "HEAD"), _git(checkout, "status", "--porcelain")
    if commit is None or status is None:
        return {"commit": None}
    changed = [line[3:] for line in status.splitlines()]
    return {
        "commit": commit.strip(),
        "clean": not changed,
        "changed": changed[:CHANGED_AT_MOST],
        "repository": _public(_git(checkout, "remote", "get-url", "origin") or ""),
    }


def _source_of_package() -> dict[str, Any]:
    """Return pip's record of a package that it installed from a repository."""
    try:
        noted = json.loads(distribution("genifer").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        noted = {}
    commit = noted.get("vcs_info", {}).get("commit_id")
    return {"commit": commit, "repository": _public(noted.get("url", ""))} if commit else {"commit": None}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _public(url: str) -> str | None:
    """Return a repository's address without user names and passwords; None for a local folder."""
    url = url.strip()
    parts = urlsplit(url)
    if parts.scheme in ("http", "https", "ssh", "git"):
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    host_and_path = re.fullmatch(r"(?:[^@/]+@)?([^:/]+:(?!//).+)", url)
    return host_and_path[1] if host_and_path else None


def command_line(arguments: Sequence[str]) -> str:
    """Return a command without secrets and with ``~`` for the home folder, so that it can be published."""
    shown = [Path(arguments[0]).name]
    hides = False
    for argument in arguments[1:]:
        name, equals, _ = argument.partition("=")
        secret = name.startswith("-") and SECRET.search(name) is not None
        if hides and not name.startswith("-"):
            shown.append(HIDDEN)
        elif secret and equals:
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(without_home(argument))
        hides = secret and not equals
    return shlex.join(shown)


def without_home(value: Any) -> Any:
    """Replace the home folder by ``~`` and drop the working directory, also inside lists and mappings."""
    if isinstance(value, dict):
        return {key: without_home(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_home(each) for each in value]
    if isinstance(value, str):
        value = value.replace(f"{Path.cwd()}{os.sep}", "")
        return re.sub(rf"{re.escape(str(Path.home()))}(?=/|$)", "~", value)
    return value
