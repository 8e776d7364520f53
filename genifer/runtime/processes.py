"""Several processes for one training, one per GPU: starts them, and ends them together.

The processes run the same command and differ in torchrun's environment variables; torchrun itself may start
them too. `genifer.runtime.parallel` has their communication. This module imports no PyTorch.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from genifer.errors import GeniferError, Interrupted, ProcessLost
from genifer.runtime.cpus import cpus

RENDEZVOUS = "GENIFER_RENDEZVOUS"
"""Environment variable: the file through which the processes find each other."""

LAUNCHER = "GENIFER_LAUNCHER"
"""Environment variable: the id of the process that started them."""

TORCHRUN = "TORCHELASTIC_RUN_ID"

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl (linux/prctl.h)."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

SECONDS_BETWEEN_CHECKS = 0.1

SECONDS_TO_END = 15.0
"""Time after a process's failure until the others, which may wait for it forever, are killed."""

LINES_SHOWN = 5
"""Number of last lines of a failed process's messages that are shown."""


def is_one_of_several() -> bool:
    """Return whether this process was started as one of several of a training."""
    return RENDEZVOUS in os.environ or TORCHRUN in os.environ


def is_first() -> bool:
    """Return whether this process writes the log messages and files of its training."""
    return not is_one_of_several() or os.environ["RANK"] == "0"


def run_in_several(count: int, descriptors: Sequence[int] = ()) -> None:
    """Run this command in ``count`` processes; the call returns in each of them.

    The process that starts them waits for them, and exits with their common exit code.

    Args:
        count: ``runtime.gpus_per_job``; no effect with 1.
        descriptors: file descriptors that the processes inherit and keep open until they end.

    Raises:
        GeniferError: a process failed, or torchrun started another number of them.
        Interrupted: a signal stopped them before the training began.
    """
    if is_one_of_several():
        if LAUNCHER in os.environ:
            _end_with_launcher()
        started = os.environ["WORLD_SIZE"]
        if started != str(count):
            raise GeniferError(
                f"runtime.gpus_per_job: {count}, but torchrun started {started} processes; give the same "
                f"number to both (--nproc-per-node, and --runtime '{{gpus_per_job: {started}}}')"
            )
    elif count > 1:
        sys.exit(_run(count, descriptors))


def _end_with_launcher() -> None:
    """Let Linux send SIGTERM to this process when the process that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(os.environ[LAUNCHER]):
            raise ProcessLost("the process that started the training's processes has ended")


def _run(count: int, descriptors: Sequence[int]) -> int:
    with tempfile.TemporaryDirectory(prefix="genifer-") as name:
        folder = Path(name)
        processes: list[subprocess.Popen[bytes]] = []
        with _passing_on(processes) as signals:
            processes.extend(_start(rank, count, folder, descriptors) for rank in range(count))
            killed = _wait(processes)
        return _exit_code(processes, killed, signals, folder)


def _start(rank: int, count: int, folder: Path, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        RENDEZVOUS: str(folder / "rendezvous"),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": str(max(1, cpus() // count)),
        LAUNCHER: str(os.getpid()),
    }
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all processes are on this machine
    command = [sys.executable, "-m", "genifer", *sys.argv[1:]]
    if rank == 0:
        return subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=descriptors)
    with _messages_of(rank, folder).open("wb") as messages:
        return subprocess.Popen(
            command, env=environment, start_new_session=True, pass_fds=descriptors, stderr=messages
        )


def _messages_of(rank: int, folder: Path) -> Path:
    return folder / f"messages_{rank}.txt"


@contextmanager
def _passing_on(processes: list[subprocess.Popen[bytes]]) -> Iterator[list[signal.Signals]]:
    """Pass signals on to the processes, and yield the list of received ones; a second one kills them."""
    received: list[signal.Signals] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number))
        for process in processes:
            process.send_signal(number if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: list[subprocess.Popen[bytes]]) -> set[int]:
    """Wait until all processes have ended; return which were killed because another one had failed."""
    killed: set[int] = set()
    failed_at: float | None = None
    while any(process.poll() is None for process in processes):
        # Processes stopped by a signal may have to wait until the first has written the state.
        if failed_at is None and any(
            process.returncode not in (None, 0, Interrupted.exit_code) for process in processes
        ):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > SECONDS_TO_END:
            for rank, process in enumerate(processes):
                if process.returncode is None:
                    process.kill()
                    killed.add(rank)
        time.sleep(SECONDS_BETWEEN_CHECKS)
    return killed


def _exit_code(
    processes: list[subprocess.Popen[bytes]],
    killed: set[int],
    signals: list[signal.Signals],
    folder: Path,
) -> int:
    """Return the common exit code of all processes.

    Raises:
        GeniferError: a process has failed, and the first process has not reported it.
    """
    codes = [process.returncode for process in processes]
    if not any(codes):
        return 0
    if signals and all(
        code in (0, Interrupted.exit_code, ProcessLost.exit_code) or code < 0 for code in codes
    ):
        if codes[0] == Interrupted.exit_code:
            return codes[0]
        raise Interrupted(
            f"stopped by {signals[0].name}; the same command resumes from the latest resume file, if there "
            "is one"
        )
    failed = [
        rank
        for rank, code in enumerate(codes)
        if code not in (0, Interrupted.exit_code, ProcessLost.exit_code) and rank not in killed
    ]
    if codes[0] > 0 and (not failed or 0 in failed):
        return codes[0]
    # Gloo and NCCL may abort a process that has lost another one; the other one is the cause.
    failed.sort(key=lambda rank: codes[rank] == -signal.SIGABRT)
    rank = failed[0] if failed else next(rank for rank, code in enumerate(codes) if code)
    code = codes[rank]
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    lines: list[str] = []
    if rank:
        lines = _messages_of(rank, folder).read_text("utf-8", "replace").strip().splitlines()[-LINES_SHOWN:]
    messages = "".join(f"\n  {line}" for line in ["Its last messages:", *lines]) if lines else ""
    raise GeniferError(
        f"process {rank} of the training's processes 0 to {len(codes) - 1} (runtime.gpus_per_job) {how}, so "
        "the others were stopped. The same command resumes from the latest resume file, if there is "
        f"one.{messages}"
    )
