"""The status of a job: a small file beside its results, for other processes to read.

``status.json`` is an object with

* ``job, seed, task, state`` (running, done, interrupted or failed) and ``message`` (why it failed);
* ``steps, done, speed`` (recent steps per second), ``scalars`` (the last row of metrics.csv);
* ``preparation``: steps done and steps in all of the preparation in progress, or null;
* ``seconds, cpu_seconds, memory_mb`` (see `genifer.runtime.usage`; totals over all attempts if the training
  was resumed), ``began`` and ``updated`` (UTC);
* ``host`` (in a Slurm job the node's name), ``pid, device, machine, precision, threads, gpu_memory_mb``
  (peak), ``gpu_memory_total_mb``, and the versions ``genifer, torch, python``.
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
"""Number of status writes over which the speed is averaged."""


class Status:
    """The status of a training in progress.

    Writing it takes less than a millisecond every two seconds and never waits for the device. If it cannot
    be written, it warns once and the training continues.

    Args:
        folder: the job's folder.
        about: further entries of the file.
        steps: steps of the whole training.
        writes: whether this process writes the file; with several processes, only one does.
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
        self.content |= {"done": 0, "speed": None, "scalars": {}, "preparation": None}
        self.content |= {"began": _now(), "host": host_name(), "pid": os.getpid()}
        self.before = Usage()
        self.others = Usage()
        """Resources used by the other processes of the training."""
        self.marks: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        self.writes = writes

    def begin(self, done: int, resumes: bool) -> None:
        """Write the first status.

        Args:
            done: steps done by earlier attempts.
            resumes: whether the file holds the status of an earlier attempt at the same training.
        """
        if resumes:
            self.before = Usage.of_status(read_status(self.path))
        self._write(done)

    def update(self, done: int) -> None:
        if time.monotonic() - self.marks[-1][0] >= SECONDS_BETWEEN_WRITES:
            self._write(done)

    def prepare(self, done: int, count: int) -> None:
        """Store how many steps of the preparation, which precedes the training's first step, are done."""
        self.content["preparation"] = [done, count] if done < count else None
        self.update(0)

    def row(self, scalars: Mapping[str, float]) -> None:
        """Store the scalars of the latest row of metrics.csv."""
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
    """Write the status of a finished job other than a training."""
    about = {"job": job, "state": "done", **usage().rounded(), "updated": _now()}
    memory = {"gpu_memory_mb": gpu_memory_mb(device)}
    write_status(folder / STATUS, about | memory | machine_of(device, precision))


def gpu_memory_mb(device: torch.device) -> int | None:
    """Return the peak GPU memory of this process in MiB."""
    import torch

    return torch.cuda.max_memory_allocated(device) // MIB if device.type == "cuda" else None


def machine_of(device: torch.device, precision: str | None) -> dict[str, Any]:
    """Return the machine that this job runs on and the versions of its software."""
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


def host_name() -> str:
    """Return the name of this machine: in a Slurm job the node's, by which Slurm's commands know it."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def describe_lost_attempt(folder: Path, done: int) -> str | None:
    """Return a message if the last attempt at a training ended without reporting, else None.

    Args:
        folder: the job's folder.
        done: steps done by earlier attempts.
    """
    status = read_status(folder / STATUS)
    if status.get("state") != "running":
        return None
    reported = status.get("done")
    after = max(done, reported) if isinstance(reported, int) else done
    host = status.get("host", "an unknown machine")
    how = "ended without reporting (node lost or job killed)"
    return f"the previous attempt on {host} {how} after step {after:,}"


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def read_status(path: Path) -> dict[str, Any]:
    """Return the content of a status file; empty if it is missing or cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_status(path: Path, content: Mapping[str, Any]) -> bool:
    """Write a status file atomically, without waiting for the disk.

    Returns:
        Whether it could be written; if not, a warning is logged.
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
