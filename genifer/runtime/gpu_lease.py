"""Reservation of GPUs for each training: a lease by file lock, which ends with the processes.

A training holds an exclusive ``flock`` on one of the slots of each of its GPUs. All processes of a training
share it, so it lasts until the last one has ended. The kernel releases the lock however they end, so no lease
is lost and none outlives its training. Slots are empty folders below `FOLDER`: other users can lock them
without permission to change them, and systemd-tmpfiles, which removes old files, skips locked folders.
`FOLDER` is in ``/tmp`` instead of ``TMPDIR``, because all users of the machine must use the same folder, and
it must not be on a shared file system. Slots are named by the GPU's UUID, because its number in
``CUDA_VISIBLE_DEVICES`` differs between processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genifer.errors import GeniferError
from genifer.runtime.gpus import VISIBLE, Gpu, listed_gpus, visible_gpus
from genifer.runtime.processes import is_one_of_several
from genifer.runtime.usage import leave_out

if TYPE_CHECKING:
    from genifer.config import RuntimeSettings

log = logging.getLogger(__name__)

FOLDER = Path("/tmp/genifer-gpus")
SECONDS_BETWEEN_TRIES = 1.0
SECONDS_UNTIL_MESSAGE = 5.0


@contextlib.contextmanager
def leased_gpus(runtime: RuntimeSettings, count: int = 1) -> Iterator[tuple[int, ...]]:
    """Context manager: wait for ``count`` GPUs with fewer trainings than allowed, and lease them.

    The waiting time does not count as the job's time. Enter it before PyTorch is imported, because CUDA reads
    ``CUDA_VISIBLE_DEVICES`` only once. It has no effect with ``runtime.device: cpu``, if no GPU is found, and
    in one of several processes of a training, whose GPUs are leased by the process that started it. It gives
    the descriptors that hold the lease, for child processes that share it.

    Raises:
        GeniferError: no GPU works with ``runtime.device: cuda``, there are fewer than ``count``, a GPU has
            failed during the training, or `FOLDER` cannot be used.
    """
    without = runtime.device == "cpu" or is_one_of_several()
    began = time.monotonic()
    lease = None if without else _wait_for_lease(runtime.device, runtime.jobs_per_gpu, count)
    if lease is None:
        yield ()
        return
    leave_out(time.monotonic() - began)
    log.info("reserved %s", _named(lease.gpus))
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = ",".join(gpu.uuid for gpu in lease.gpus)
    try:
        yield lease.descriptors
    except RuntimeError as error:
        _explain_lost_gpu(lease.gpus, error)
        raise
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before
        lease.release()


def _wait_for_lease(device: str, limit: int, count: int) -> Lease | None:
    """Wait for a lease of GPUs that this process may use, and return it; None if there is no GPU."""
    began = time.monotonic()
    logged: set[str] = set()

    def warn_once(message: str) -> None:
        if message not in logged:
            logged.add(message)
            log.warning(message)

    while True:
        gpus, problems = visible_gpus()  # each time, because a GPU may fail while this process waits
        if not gpus and problems and device == "cuda":
            raise GeniferError(
                f"runtime.device: cuda, but no GPU works here. {'; '.join(problems)}. Repair it, or name "
                f"other GPUs in {VISIBLE}"
            )
        for problem in problems:
            warn_once(problem)
        if not gpus:
            return None
        if count > len(gpus):
            raise GeniferError(
                f"runtime.gpus_per_job: {count}, but this training can use only {len(gpus)}: "
                f"{_named(gpus)}. Lower it, or name more GPUs in {VISIBLE}"
            )
        lease = take_lease(gpus, limit, count)
        if lease is not None:
            return lease
        if time.monotonic() - began > SECONDS_UNTIL_MESSAGE:
            warn_once(
                f"waits for {'a GPU' if count == 1 else f'{count} GPUs'}. Other trainings use "
                f"{_named(gpus)}, and runtime.jobs_per_gpu: {limit} allows no more. To share GPUs, raise "
                "runtime.jobs_per_gpu in all runs; to start fewer trainings at once: snakemake --resources "
                f"gpu={len(gpus) * limit}"
            )
        time.sleep(SECONDS_BETWEEN_TRIES)


def _named(gpus: Sequence[Gpu]) -> str:
    return ", ".join(map(str, gpus))


def _explain_lost_gpu(gpus: Sequence[Gpu], error: RuntimeError) -> None:
    """Raise a `GeniferError` if a GPU is no longer there."""
    listed, problems = listed_gpus()
    for gpu in gpus:
        if gpu.index and gpu.uuid not in {other.uuid for other in listed}:
            raise GeniferError(
                f"{gpu} has failed: nvidia-smi no longer lists it. "
                f"{'; '.join([str(error).splitlines()[0], *problems])}. Run the same command again: the "
                "training resumes on another GPU, or on this one after a restart of the machine"
            ) from error


@dataclass(frozen=True)
class Lease:
    """GPUs that this process may use until it releases them or ends.

    Attributes:
        gpus: the leased GPUs.
        descriptors: file descriptors of the open slots, one per GPU, which hold the locks.
    """

    gpus: tuple[Gpu, ...]
    descriptors: tuple[int, ...]

    def release(self) -> None:
        for descriptor in self.descriptors:
            if descriptor in _descriptors:
                _descriptors.remove(descriptor)
                os.close(descriptor)


def take_lease(gpus: Sequence[Gpu], limit: int, count: int = 1) -> Lease | None:
    """Lease the GPUs with the fewest trainings, without waiting; None if too few are free.

    Args:
        gpus: GPUs to choose from.
        limit: maximum number of trainings that share a GPU. If trainings on a GPU have different limits, the
            lowest holds.
        count: number of GPUs to lease.

    Raises:
        GeniferError: `FOLDER` cannot be used.
    """
    descriptors: list[int] = []
    try:
        lock = _locked(FOLDER, 0o1777, wait=True)  # one process chooses at a time
        assert lock is not None
        try:
            limits = {gpu: _limits_of_holders(gpu) for gpu in gpus}
            free = [gpu for gpu in gpus if len(limits[gpu]) < min([limit, *limits[gpu]])]
            chosen = sorted(free, key=lambda gpu: len(limits[gpu]))[:count]
            if len(chosen) < count:
                return None
            for gpu in chosen:
                slots = (_locked(_slot(gpu, limit, number), 0o755) for number in range(limit))
                slot = next((slot for slot in slots if slot is not None), None)
                descriptors += [] if slot is None else [slot]
        finally:
            os.close(lock)
    except OSError as error:
        raise GeniferError(
            f"{error.filename or FOLDER}: a GPU cannot be reserved there ({error.strerror}). Make {FOLDER} a "
            f"folder that all users can write (chmod 1777), on a disk of this machine"
        ) from error
    lease = Lease(tuple(chosen), tuple(descriptors))
    _descriptors.update(descriptors)
    if len(descriptors) < count:  # a program that clears /tmp has locked a slot
        lease.release()
        return None
    return lease


def _slot(gpu: Gpu, limit: int | str, number: int | str) -> Path:
    return FOLDER / f"{gpu.uuid.replace('/', '_')}.{limit}.{number}"


def _limits_of_holders(gpu: Gpu) -> list[int]:
    """Return the limit of each training on a GPU."""
    limits = []
    for slot in FOLDER.glob(_slot(gpu, "*", "*").name):
        descriptor = _locked(slot, 0o755)
        if descriptor is None:
            limits.append(int(slot.name.split(".")[-2]))
        else:
            os.close(descriptor)
    return limits


def _locked(folder: Path, mode: int, *, wait: bool = False) -> int | None:
    """Create a folder and lock it; return the open descriptor, or None if another process has the lock."""
    while True:
        _make(folder, mode)
        descriptor = None
        try:
            # Child processes inherit the descriptor only if it is passed to them explicitly.
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(folder.stat(), os.fstat(descriptor)):
                locked, descriptor = descriptor, None
                return locked
        except BlockingIOError:
            return None
        except FileNotFoundError:
            pass  # a program that clears /tmp has removed the folder in between
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _make(folder: Path, mode: int) -> None:
    """Create a folder with exactly this mode, despite the umask, for other users."""
    if not folder.exists():
        before = os.umask(0)
        try:
            folder.mkdir(mode)
        except FileExistsError:
            pass
        finally:
            os.umask(before)


_descriptors: set[int] = set()
"""Descriptors of this process's leases."""


def _forget_leases() -> None:
    """Close the descriptors in a forked process, where they would hold the locks after its parent's end."""
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_forget_leases)
