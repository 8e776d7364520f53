"""Let the server of the tests run a command: warm_client.py FOLDER COMMAND ARGUMENTS (see warm_start.py).

It imports little, because each command starts with it.
"""

import json
import os
import signal
import socket
import sys

READ_AT_START = ("PYTHON", "OMP_", "LC_", "LANG")
"""How the names of environment variables begin that Python and OpenMP read when they start.

The server sets PYTHONPATH for each command.
"""

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def read_at_start() -> dict[str, str]:
    names = [name for name in os.environ if name.startswith(READ_AT_START) and name != "PYTHONPATH"]
    return {name: os.environ[name] for name in names}


def can_be_forked(folder: str, command: str, arguments: list[str]) -> bool:
    """Whether the server knows this command, and Python would start for it as it started for the server."""
    if command == "python" and arguments[:2] != ["-m", "genifer"]:
        return False
    packages = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    with open(f"{folder}/environment.json") as file:
        same = read_at_start() == json.load(file)
    return same and not any(os.path.exists(f"{package}/sitecustomize.py") for package in packages)


def main() -> None:
    folder, command, *arguments = sys.argv[1:]
    server = socket.socket(socket.AF_UNIX)
    try:
        if not can_be_forked(folder, command, arguments):
            raise FileNotFoundError
        server.connect(f"{folder}/socket")
    except OSError:
        real = f"{os.path.dirname(sys.executable)}/{command}"
        os.execv(real, [real, *arguments])
    for number in FORWARDED:
        signal.signal(number, lambda number, _: server.sendall(bytes([number])))
    request = json.dumps([command, arguments, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(request)
    answer = server.recv(2, socket.MSG_WAITALL)
    code = int.from_bytes(answer, "big", signed=True) if answer else 1
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
