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


@pytest.fixture
def genifer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: call(["genifer", *arguments], tmp_path)
