"""Resume files: the whole state of a training, from which it continues after an interruption.

A training writes its state every few minutes, and when a signal stops it. Run again with the same settings
and inputs, it resumes from the newest readable file, and gives bitwise the same results.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import pickle
import random
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch

from genifer.errors import GeniferError, Interrupted
from genifer.runtime.files import atomic_write
from genifer.runtime.processes import SIGNALS

log = logging.getLogger(__name__)

RESUME_FOLDER = "resume"

KEPT = 2
"""Number of resume files to keep; if the newest cannot be read, the previous one is used."""


class Stateful(Protocol):
    """A part of a training with a state, such as a module or an optimizer."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


Part = Stateful | torch.Generator


def state_of(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Return the states of all parts of a training, and of the global random generators."""
    states: dict[str, Any] = {
        name: part.get_state() if isinstance(part, torch.Generator) else dict(part.state_dict())
        for name, part in parts.items()
    }
    return states | {"random": _random_state()}


def restore_state(parts: Mapping[str, Part], states: Mapping[str, Any], folder: Path) -> None:
    """Restore the parts of a training from states that were read from ``folder``.

    Raises:
        GeniferError: the states do not fit the parts.
    """
    try:
        for name, part in parts.items():
            if isinstance(part, torch.Generator):
                part.set_state(states[name])
            else:
                part.load_state_dict(states[name])
        _set_random_state(states["random"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise GeniferError(
            f"{folder}: its files were written by another version of genifer or PyTorch ({error}); delete "
            "this folder to start the training over"
        ) from error


def not_finite(state: Any, name: str = "") -> str | None:
    """Return the name of a tensor with infinite or NaN entries, or None if there is none."""
    by_device: dict[torch.device, dict[str, torch.Tensor]] = {}
    for key, tensor in _float_tensors(state, name):  # RAdam counts its steps on the CPU
        by_device.setdefault(tensor.device, {})[key] = tensor
    for tensors in by_device.values():
        finite = torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).tolist()
        found = next((key for key, is_finite in zip(tensors, finite, strict=True) if not is_finite), None)
        if found is not None:
            return found
    return None


def _float_tensors(state: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(state, torch.Tensor):
        if state.is_floating_point():
            yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _float_tensors(value, f"{name}: {key}" if name else str(key))
    elif isinstance(state, list | tuple):
        for index, value in enumerate(state):
            yield from _float_tensors(value, f"{name}: {index}")


def _random_state() -> dict[str, Any]:
    name, keys, *position = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *position],
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        # An older file may hold states of other GPUs too, but its training used only the first.
        torch.cuda.set_rng_state(state["cuda"][0])
    random.setstate(state["python"])
    name, keys, *position = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *position))


class ResumeFiles:
    """The resume files of one training.

    Args:
        folder: folder for these files alone; deleted when the training succeeds.
        belongs_to: settings and checksums of the inputs. A file with other values is not used.
        of_precision: precision of the training, which is written into the files.
    """

    def __init__(self, folder: Path, belongs_to: Mapping[str, Any], of_precision: str = "") -> None:
        self.folder = folder
        self.belongs_to = json.loads(json.dumps(belongs_to))
        self.of_precision = of_precision

    def write(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the state after ``step`` steps, and delete all but the last two."""
        buffer = io.BytesIO()
        header = {"belongs_to": self.belongs_to, "step": step, "precision": self.of_precision}
        buffer.write(json.dumps(header).encode() + b"\n")
        torch.save(dict(state), buffer)
        content = buffer.getbuffer()
        with atomic_write(self._path(step)) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(content).hexdigest().encode() + b"\n")
            file.write(content)
        for path in self._newest_first()[KEPT:]:
            path.unlink()

    def read(self) -> tuple[int, dict[str, Any]] | None:
        """Return the number of steps done and the state after them, from the newest usable file."""
        for path in self._newest_first():
            try:
                checksum, content = path.read_bytes().split(b"\n", 1)
                if hashlib.sha256(content).hexdigest().encode() != checksum:
                    raise ValueError("its checksum is wrong")
                header_line, state = content.split(b"\n", 1)
                header = json.loads(header_line)
                if header["belongs_to"] != self.belongs_to:
                    log.info("%s: not used, it belongs to %s", path, self._others(header["belongs_to"]))
                    continue
                # States of random generators must stay on the CPU; the parts move the rest to their device.
                return header["step"], torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
                log.info("%s: not used, it cannot be read (%s)", path, error)
        return None

    def precision(self) -> str | None:
        """Return the precision with which the training began; None if there is no file to resume from."""
        for path in self._newest_first():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
                file.readline()  # the checksum
                header = json.loads(file.readline())
                if header["belongs_to"] == self.belongs_to:
                    return str(header["precision"])
        return None

    def newest(self) -> Path | None:
        return next(iter(self._newest_first()), None)

    def delete(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:010}.resume"

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step_*.resume"), reverse=True)

    def _others(self, belongs_to: Mapping[str, Any]) -> str:
        different = [name for name in self.belongs_to if belongs_to.get(name) != self.belongs_to[name]]
        return "other " + " and ".join(different or ["settings"])


class Stop:
    """Records whether a signal asked the training to stop.

    Args:
        obeys_second: whether a second signal ends the process at once. False for several processes: each may
            get the same signal twice, from a scheduler and from the process that started it.
    """

    def __init__(self, obeys_second: bool = True) -> None:
        self.signal: signal.Signals | None = None
        self.obeys_second = obeys_second

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Context manager: record stop signals instead of ending at once."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        if self.obeys_second:
            signal.signal(number, signal.SIG_DFL)

    def interrupted(self, title: str, step: int) -> Interrupted:
        assert self.signal is not None
        return Interrupted(
            f"{title}: stopped by {self.signal.name} after step {step:,}; the same command resumes from there"
        )


class Clock:
    """Tells when the next resume file is due."""

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self.written_at = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.written_at >= self.seconds

    def reset(self) -> None:
        self.written_at = time.monotonic()


def checksums(paths: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of each file, in hexadecimal.

    Raises:
        GeniferError: a file cannot be read.
    """
    result = {}
    for name, path in paths.items():
        try:
            with path.open("rb") as file:
                result[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise GeniferError(
                f"{path}: cannot be read ({error.strerror}); run the job that writes it (snakemake does)"
            ) from error
    return result
