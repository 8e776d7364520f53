from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from commands import ROOT, TINY, call, make_clone


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
    parser.addoption("--write-chart", action="store_true", help="write the README's chart of the rules anew")


@pytest.fixture
def genifer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: call(["genifer", *arguments], tmp_path)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose quickstart is the tiny run: run, recorded by DVC, and pushed to a folder."""
    folder = make_clone(tmp_path_factory.mktemp("recorded"))
    (folder / "config" / "quickstart.yaml").write_text(yaml.safe_dump(TINY))
    remote = tmp_path_factory.mktemp("remote")
    for command in (
        ["git", "init", "--quiet"],
        ["git", "config", "user.name", "A User"],
        ["git", "config", "user.email", "user@example.org"],
        ["snakemake", "--configfile", "config/quickstart.yaml"],
        ["dvc", "repro", "quickstart"],
        ["dvc", "remote", "add", "--default", "folder", remote],
        ["git", "add", "."],
        ["git", "commit", "--quiet", "--message", "The quickstart, run and recorded"],
        ["dvc", "push", "quickstart"],
    ):
        done = call(command, folder)
        assert done.returncode == 0, done.stdout + done.stderr
        if command[:2] == ["dvc", "repro"]:
            assert "Nothing to be done" in done.stdout + done.stderr
    return folder
