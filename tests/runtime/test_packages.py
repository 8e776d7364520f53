from __future__ import annotations

import os
from pathlib import Path

import pytest

from genifer.runtime.packages import import_first_from


def test_the_folder_comes_first_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for before, after in (("", ["/code"]), ("/a:/b", ["/code", "/a", "/b"]), ("/a:/code", ["/a", "/code"])):
        monkeypatch.setenv("PYTHONPATH", before)
        import_first_from(Path("/code"))
        assert os.environ["PYTHONPATH"].split(os.pathsep) == after
    monkeypatch.delenv("PYTHONPATH")
    import_first_from(Path("/code"))
    assert os.environ["PYTHONPATH"] == "/code"
