from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from support.commands import ROOT, TINY, call, make_clone
from support.warm_start import warm_commands


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reference-dir",
        default=str(ROOT / "tests" / "reference" / "data"),
        help="folder with figures of the published implementation",
    )
    parser.addoption(
        "--record-versions",
        action="store_true",
        help="record the results of jobs whose version was raised",
    )
    parser.addoption(
        "--write-environment", action="store_true", help="write the versions in environment.yml anew"
    )
    parser.addoption(
        "--cluster",
        choices=("part", "whole"),
        help="run the tests that start a Slurm of their own, with a part of the quickstart or all of it",
    )
    parser.addoption("--write-chart", action="store_true", help="write the README's chart of the rules anew")
    parser.addoption(
        "--write-tables", action="store_true", help="write the documents' tables of results anew"
    )
    parser.addoption(
        "--cold-start",
        action="store_true",
        help="start each command as users do, not by forking a process that has imported PyTorch",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let the tests find the commands of this environment, in workers of pytest-xdist, too."""
    if not hasattr(config, "workerinput"):
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        if not config.getoption("--cold-start"):
            commands = contextlib.ExitStack()
            commands.enter_context(warm_commands())
            config.add_cleanup(commands.close)


@pytest.fixture
def genifer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: call(["genifer", *arguments], tmp_path)


@pytest.fixture(scope="session")
def recorded_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A repository whose quickstart is the tiny run: run, recorded by DVC, and pushed to a folder.

    It is made once, by the first worker that needs it, and only read afterwards.
    """
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        base = base.parent
    folder, done = base / "recorded", base / "recorded.done"
    with FileLock(base / "recorded.lock"):
        if not done.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # of another worker, which failed
            record_tiny_run(make_clone(folder), base / "remote")
            done.touch()
    return folder


def record_tiny_run(folder: Path, remote: Path) -> None:
    (folder / "config" / "quickstart.yaml").write_text(yaml.safe_dump(TINY))
    remote.mkdir(exist_ok=True)
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


@pytest.fixture(scope="module")
def recorded(recorded_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that repository, which the tests of a file may change."""
    folder = tmp_path_factory.mktemp("copy") / "recorded"
    shutil.copytree(recorded_once, folder, symlinks=True)
    return folder
