from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reference-dir",
        default=str(ROOT / "tests" / "reference" / "data"),
        help="folder with figures of the published implementation",
    )
