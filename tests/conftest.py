from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import ROOT, call


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reference-dir",
        default=str(ROOT / "tests" / "reference" / "data"),
        help="folder with figures of the published implementation",
    )
    parser.addoption(
        "--record-recipes",
        action="store_true",
        help="record the results of stages whose recipe was raised",
    )


@pytest.fixture
def genifer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: call(["genifer", *arguments], tmp_path)
