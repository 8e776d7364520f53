"""Fork a process for each command of a client, with the large packages imported (see warm_start.py)."""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

PACKAGES = (
    "PIL.Image",
    "matplotlib.pyplot",
    "pandas",
    "pydantic",
    "rich.console",
    "ruamel.yaml",
    "safetensors.torch",
    "scipy.stats",
    "seaborn",
    "snakemake.cli",
    "snakemake.report",
    "snakemake.workflow",
    "torch.utils.data",
    "typer",
)
"""What commands of genifer and Snakemake import and this project does not change."""

STARTERS = ("snakemake", "dvc")
"""Commands that start others of genifer by `sys.executable`, and do not check whose child these are."""


def serve(folder: Path) -> None:
    """Run the commands of clients, each in a process of its own, until the session ends and closes stdin."""
    sys.path.pop(0)  # the folder of this file
    for name in PACKAGES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # otherwise garbage collections of forked processes copy all memory
    packages = sys.path[:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            serve_one(client, packages, folder)
        client.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def serve_one(client: socket.socket, packages: list[str], clients: Path) -> NoReturn:
    """Fork the command of a client, pass signals on to it, and its exit code back; if the client dies, kill it."""
    size, files, _, _ = socket.recv_fds(client, 4, 3)
    request = client.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
    process = os.fork()
    if process == 0:
        client.close()
        become(*json.loads(request), files=files, packages=packages, clients=clients)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(process)
    while ended not in select.select([client, ended], [], [])[0]:
        number = client.recv(1)
        os.kill(process, number[0] if number else signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        client.sendall(code.to_bytes(2, "big", signed=True))
    os._exit(0)


def become(
    command: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    *,
    files: list[int],
    packages: list[str],
    clients: Path,
) -> NoReturn:
    """Become the process of a command, and run it to its end."""
    os.setsid()
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    scripts = Path(sys.executable).parent
    first = folder if command == "python" else str(scripts)
    given = environment.get("PYTHONPATH")
    sys.path[:] = [first, *(given.split(os.pathsep) if given else []), *packages]
    if command == "python":
        sys.argv = arguments[1:]
        run = functools.partial(runpy.run_module, arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [f"{scripts}/{command}", *arguments]
        run = functools.partial(runpy.run_path, sys.argv[0], run_name="__main__")
        if command in STARTERS:
            sys.executable = str(clients / "python")
    end_with(exit_code(run))


def exit_code(run: Callable[[], object]) -> int:
    """Run a program, and return the exit code with which Python would end."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    else:
        return 0
    return 1


def end_with(code: int) -> NoReturn:
    """End as Python does, but leave the modules in memory: to tidy them up would copy them first."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
