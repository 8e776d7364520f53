"""Start the tests' commands by forking a process that has imported the large packages already.

A Python process takes two to four seconds to import PyTorch or Snakemake, and one run of the workflow starts
thirty. So the tests' `PATH` begins with clients that have the names of the commands. A client sends its
arguments, environment, folder and open files to the server of the test session. The server forks a process
that runs the command there; the modules of this project are imported anew, from where the command finds them.

Commands named by their whole path, as in `.venv/bin/genifer`, start as everywhere else. So do those whose
environment changes how Python or OpenMP starts. `pytest --cold-start` does without the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.warm_client import read_at_start

COMMANDS = ("python", "genifer", "snakemake", "dvc")
HERE = "GENIFER_TEST_COMMANDS"
"""Environment variable with the folder of the clients."""

CLIENT, SERVER = (Path(__file__).with_name(f"warm_{name}.py") for name in ("client", "server"))


@contextlib.contextmanager
def warm_commands() -> Iterator[None]:
    """Put clients in front of the `PATH`, and serve them; tests that a test starts use those that are there."""
    if HERE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="genifer-commands-") as name:
        folder = Path(name)
        for command in COMMANDS:
            client = folder / command
            client.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {CLIENT} {folder} {command} "$@"\n')
            client.chmod(0o755)
        (folder / "environment.json").write_text(json.dumps(read_at_start()))
        before = os.environ["PATH"]
        others = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        server = subprocess.Popen([sys.executable, SERVER, folder], env=others, stdin=subprocess.PIPE)
        os.environ |= {"PATH": f"{folder}{os.pathsep}{before}", HERE: str(folder)}
        try:
            yield
        finally:
            os.environ["PATH"] = before
            del os.environ[HERE]
            server.communicate()


def cold_environment() -> dict[str, str]:
    """The environment in which commands start as everywhere else, for tests that kill processes as they begin."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.environ | {"PATH": os.pathsep.join(name for name in folders if name != os.environ.get(HERE))}
