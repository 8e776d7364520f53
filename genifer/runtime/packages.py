"""Where the processes that this one starts find their packages."""

from __future__ import annotations

import os
from pathlib import Path


def import_first_from(folder: Path) -> None:
    """Let processes that this one starts look for packages in a folder before they look elsewhere."""
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if str(folder) not in others:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *others])
