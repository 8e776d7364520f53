"""The status of a job, in a small file beside its results that others may read.

``status.json`` is an object with

* ``job, seed, task, state`` (running, done, interrupted or failed) and ``message`` (why it failed);
* ``steps, done, speed`` (steps per second, recently), ``scalars`` (the last row of metrics.csv);
* ``seconds, cpu_seconds, memory_mb`` (`genifer.runtime.usage`; of a training that was resumed, in all
  attempts), ``began`` and ``updated`` (UTC);
* ``host, pid, device, machine, precision, threads, gpu_memory_mb`` (peak), ``gpu_memory_total_mb``, and the
  versions ``genifer, torch, python``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import socket
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genifer import __version__
from genifer.runtime.usage import MIB, Usage, usage

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

STATUS = "status.json"
SECONDS_BETWEEN_WRITES = 2.0
REMEMBERED = 15
"""Writes over which speed is measured."""


class Status:
    """The status of a training that is under way.

    Writing it takes less than a millisecond every two seconds and never waits for the device. Where it
    cannot be written, it warns once; the training continues.

    Args:
        folder: of the job.
        about: what else the file says of the job.
        steps: of the whole training.
        writes: whether this process writes the file; one of several does.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        steps: int,
        device: torch.device,
        writes: bool = True,
    ) -> None:
        self.path = folder / STATUS
        self.device = device
        self.content: dict[str, Any] = {**about, "state": "running", "message": None, "steps": steps}
        self.content |= {"done": 0, "speed": None, "scalars": {}, "began": _now()}
        self.content |= {"host": socket.gethostname(), "pid": os.getpid()}
        self.before = Usage()
        self.others = Usage()
        """What the other processes of the training have used."""
        self.marks: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        self.writes = writes

    def begin(self, done: int, resumes: bool) -> None:
        """Begin, after steps that were done before.

        Args:
            resumes: whether this is another attempt at the training whose status the file has.
        """
        if resumes:
            self.before = Usage.of_status(read_status(self.path))
        self._write(done)

    def update(self, done: int) -> None:
        if time.monotonic() - self.marks[-1][0] >= SECONDS_BETWEEN_WRITES:
            self._write(done)

    def row(self, scalars: Mapping[str, float]) -> None:
        """Take the scalars of a row of metrics.csv."""
        self.content["scalars"] = dict(scalars)

    def end(self, state: str, done: int, message: str | None = None) -> None:
        self.content |= {"state": state, "message": message}
        self._write(done)

    def _write(self, done: int) -> None:
        now = time.monotonic()
        self.marks.append((now, done))
        (first, done_first), (last, done_last) = self.marks[0], self.marks[-1]
        if done_last > done_first:
            self.content["speed"] = round((done_last - done_first) / max(last - first, 1e-9), 4)
        self.content |= {
            "done": done,
            **usage().beside(self.others).after(self.before).rounded(),
            "updated": _now(),
            "gpu_memory_mb": gpu_memory_mb(self.device),
        }
        if self.writes:
            self.writes = write_status(self.path, self.content)


def record_job(folder: Path, job: str, device: torch.device, precision: str | None = None) -> None:
    """Write the status of a job that trains nothing, at its end."""
    about = {"job": job, "state": "done", **usage().rounded(), "updated": _now()}
    memory = {"gpu_memory_mb": gpu_memory_mb(device)}
    write_status(folder / STATUS, about | memory | machine_of(device, precision))


def gpu_memory_mb(device: torch.device) -> int | None:
    """Peak of the GPU's memory that this process has used, in MiB."""
    import torch

    return torch.cuda.max_memory_allocated(device) // MIB if device.type == "cuda" else None


def machine_of(device: torch.device, precision: str | None) -> dict[str, Any]:
    """The machine that a job runs on, and the versions that it runs with."""
    import torch

    total = None
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory // MIB
    return {
        "device": device.type,
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "gpu_memory_total_mb": total,
        "genifer": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def read_status(path: Path) -> dict[str, Any]:
    """The content of a status file; empty where it is missing or cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_status(path: Path, content: Mapping[str, Any]) -> bool:
    """Write it whole or not at all, without waiting for the disk.

    Returns:
        Whether it could be written; if not, there is a warning.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        log.warning("%s: cannot be written (%s); no status from here on", path, error.strerror)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
