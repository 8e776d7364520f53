"""GPUs of its own for each training: a lease, by file lock, that ends with the process.

A training holds an exclusive ``flock`` on one of the slots of its GPU, or of each of its GPUs. The processes
of one training share it, so it lasts until all of them have ended. The kernel releases the lock however they
end, so no lease is lost and none outlives its training. Slots are empty folders below `FOLDER`: another user
can lock them without being able to change them, and systemd-tmpfiles, which removes old files, skips locked
folders. `FOLDER` is in ``/tmp`` and not in ``TMPDIR``, because all users of the machine must use the same,
and it must not lie on a shared file system. A GPU has the same slots whatever its number in
``CUDA_VISIBLE_DEVICES``.
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
    """Let this process see ``count`` GPUs, which no more than ``runtime.jobs_per_gpu`` trainings share.

    It waits for them, which does not count as the job's time. To be entered before PyTorch is imported,
    because CUDA reads ``CUDA_VISIBLE_DEVICES`` only once. Nothing happens with ``runtime.device: cpu``, where
    no GPU is found, and in a process that another one, which sees the GPUs, has started as one of several. It
    gives the descriptors that hold the lease, for programs that share it.

    Raises:
        GeniferError: with ``runtime.device: cuda`` no GPU works, there are fewer than ``count``, a GPU has
            fallen out during the training, or `FOLDER` cannot be used.
    """
    without = runtime.device == "cpu" or is_one_of_several()
    asked = time.monotonic()
    lease = None if without else _wait_for_lease(runtime.device, runtime.jobs_per_gpu, count)
    if lease is None:
        yield ()
        return
    leave_out(time.monotonic() - asked)
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
    """A lease of GPUs that this process may use; None if there is no GPU."""
    began = time.monotonic()
    told: set[str] = set()

    def tell(message: str) -> None:
        if message not in told:
            told.add(message)
            log.warning(message)

    while True:
        gpus, problems = visible_gpus()  # asked anew, because a GPU may have fallen out
        if not gpus and problems and device == "cuda":
            raise GeniferError(
                f"runtime.device: cuda, but no GPU works here. {'; '.join(problems)}. Repair it, or name "
                f"others in {VISIBLE}"
            )
        for problem in problems:
            tell(problem)
        if not gpus:
            return None
        if count > len(gpus):
            raise GeniferError(
                f"runtime.gpus_per_job: {count}, but this training can use {len(gpus)}: {_named(gpus)}. "
                f"Lower it, or name more GPUs in {VISIBLE}"
            )
        lease = take_lease(gpus, limit, count)
        if lease is not None:
            return lease
        if time.monotonic() - began > SECONDS_UNTIL_MESSAGE:
            tell(
                f"waits for {'a GPU' if count == 1 else f'{count} GPUs'}. Trainings use {_named(gpus)}, and "
                f"runtime.jobs_per_gpu: {limit} allows no more. To share GPUs, raise runtime.jobs_per_gpu in "
                f"all runs; to start fewer trainings at once: snakemake --resources gpu={len(gpus) * limit}"
            )
        time.sleep(SECONDS_BETWEEN_TRIES)


def _named(gpus: Sequence[Gpu]) -> str:
    return ", ".join(map(str, gpus))


def _explain_lost_gpu(gpus: Sequence[Gpu], error: RuntimeError) -> None:
    """Raise a `GeniferError` if a GPU is not there any more."""
    listed, problems = listed_gpus()
    for gpu in gpus:
        if gpu.index and gpu.uuid not in {other.uuid for other in listed}:
            raise GeniferError(
                f"{gpu} has fallen out: nvidia-smi does not list it any more. "
                f"{'; '.join([str(error).splitlines()[0], *problems])}. Run the same command again: the "
                "training resumes on another GPU, or on this one after a restart of the machine"
            ) from error


@dataclass(frozen=True)
class Lease:
    """GPUs that this process may compute on until it releases them or ends.

    Attributes:
        descriptors: of the open slots, one per GPU, which hold the locks.
    """

    gpus: tuple[Gpu, ...]
    descriptors: tuple[int, ...]

    def release(self) -> None:
        for descriptor in self.descriptors:
            if descriptor in _descriptors:
                _descriptors.remove(descriptor)
                os.close(descriptor)


def take_lease(gpus: Sequence[Gpu], limit: int, count: int = 1) -> Lease | None:
    """Take the GPUs with the fewest trainings, all or none, if enough of them have less than allowed.

    Args:
        limit: trainings that may share a GPU. Of several limits on one GPU, the lowest counts.
        count: GPUs to take.

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
    if len(descriptors) < count:  # what clears /tmp looks at one of them
        lease.release()
        return None
    return lease


def _slot(gpu: Gpu, limit: int | str, number: int | str) -> Path:
    return FOLDER / f"{gpu.uuid.replace('/', '_')}.{limit}.{number}"


def _limits_of_holders(gpu: Gpu) -> list[int]:
    """For each training on a GPU, how many it allows there."""
    limits = []
    for slot in FOLDER.glob(_slot(gpu, "*", "*").name):
        descriptor = _locked(slot, 0o755)
        if descriptor is None:
            limits.append(int(slot.name.split(".")[-2]))
        else:
            os.close(descriptor)
    return limits


def _locked(folder: Path, mode: int, *, wait: bool = False) -> int | None:
    """Make a folder and lock it; return the open descriptor, None if another process has the lock."""
    while True:
        _make(folder, mode)
        descriptor = None
        try:
            # Inherited by programs that this process starts only if it passes it on.
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(folder.stat(), os.fstat(descriptor)):
                locked, descriptor = descriptor, None
                return locked
        except BlockingIOError:
            return None
        except FileNotFoundError:
            pass  # removed in between by what clears /tmp
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _make(folder: Path, mode: int) -> None:
    """Make a folder with exactly this mode, for other users, too."""
    if not folder.exists():
        before = os.umask(0)
        try:
            folder.mkdir(mode)
        except FileExistsError:
            pass
        finally:
            os.umask(before)


_descriptors: set[int] = set()
"""Of this process's leases."""


def _forget_leases() -> None:
    """A forked process has a copy of each descriptor, which would hold the lock when its parent has ended."""
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_forget_leases)
