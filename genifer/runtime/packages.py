"""Where child processes find their packages."""

from __future__ import annotations

import os
from pathlib import Path


def import_first_from(folder: Path) -> None:
    """Let child processes import packages from a folder in preference to other places."""
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if str(folder) not in others:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *others])
