"""Versions that environments are pinned to: those of constraints.txt, for what genifer needs to run."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.commands import ROOT

OF_THE_MACHINE = ("cuda-", "nvidia-", "triton")
"""Libraries for GPUs, in the versions that PyTorch's wheel names; wheels for a CPU need none."""
OF_THE_ENVIRONMENT = {"pip", "setuptools"}
"""What a Python environment has."""


def project() -> dict[str, Any]:
    """The table of the project in pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned() -> dict[str, str]:
    """Lines of constraints.txt, by the canonical name of the package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(line.partition("==")[0]): line for line in lines if not line.startswith("#")}


def needed() -> set[str]:
    """Packages that genifer needs to run, with all that they need, as installed here."""
    extras: dict[str, set[str]] = {}
    queue = [Requirement(text) for text in project()["dependencies"]]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        known = extras.setdefault(name, set())
        asked = {"", *requirement.extras} - known
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of another platform
        known |= asked
        for text in requires if asked else []:
            other = Requirement(text)
            if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in asked):
                queue.append(other)
    return {
        name
        for name, known in extras.items()
        if known and not name.startswith(OF_THE_MACHINE) and name not in OF_THE_ENVIRONMENT
    }


def pins() -> list[str]:
    """The lines of constraints.txt that an environment needs, in their order.

    Raises:
        KeyError: constraints.txt lacks a package.
    """
    names = needed()
    missing = names - pinned().keys()
    if missing:
        raise KeyError(f"constraints.txt lacks {', '.join(sorted(missing))}")
    return [line for name, line in pinned().items() if name in names]
