"""The device, precision and compilation of a job."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import torch

from genifer.errors import GeniferError

log = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

WORTH_COMPILING = 10_000
"""Minimum number of steps for which ``runtime.compile: auto`` compiles on a GPU, which takes minutes."""

DEVICES = ("auto", "cpu", "cuda")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""
LARGEST_KEPT, KEPT_AT_MOST = 128 * 2**20, 512 * 2**20
"""Size of the largest freed block that is kept, and maximum total size of kept memory, in bytes."""


def pick_device(name: str) -> torch.device:
    """Return the device for ``runtime.device``; ``auto`` means a GPU if PyTorch finds one.

    Raises:
        GeniferError: the name is unknown, or it is ``cuda`` and PyTorch finds no GPU.
    """
    if name not in DEVICES:
        raise GeniferError(
            f"runtime.device (or --device): '{name}' is not known; allowed: {', '.join(DEVICES)}"
        )
    if name == "cuda" and not torch.cuda.is_available():
        raise GeniferError(
            "runtime.device: cuda (or --device cuda), but PyTorch finds no CUDA device here; set "
            "runtime.device: cpu, or run on a machine with a GPU and its driver (nvidia-smi shows them)"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def configure(device: torch.device, precision: str, deterministic: bool = False) -> None:
    """Configure PyTorch for one job: TF32 and deterministic algorithms only if requested."""
    tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
    if deterministic:
        # cuBLAS is deterministic only with workspaces of a fixed size; it reads this variable on start-up.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call alone takes a second
        torch.use_deterministic_algorithms(deterministic)
    torch.set_flush_denormal(True)
    if device.type == "cpu":
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors for later ones.

    If it returned the memory to the system, large tensors would get fresh pages in every step, which the
    system must clear first. This has no effect if the library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT_AT_MOST)


def pick_compile(name: str, device: torch.device, steps: int, deterministic: bool) -> bool:
    """Return whether to compile a training with this number of steps, for ``runtime.compile``.

    ``auto`` does not compile if results must be bitwise reproducible, because a compiler may choose
    differently in every process.
    """
    if name == "auto":
        return device.type == "cuda" and steps >= WORTH_COMPILING and not deterministic
    return name == "on"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context: bfloat16 for convolutions and matrix products with precision bf16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return a function that is compiled as one graph at its first call, or runs as it is if that fails."""
    in_use = torch.compile(function, fullgraph=True, dynamic=False)
    works = False

    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        nonlocal in_use, works
        if works:
            return in_use(*args, **kwargs)
        try:
            result = in_use(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            log.warning("cannot compile here, continues without (runtime.compile: off): %s", reason)
            in_use = function
            result = function(*args, **kwargs)
        works = True
        return result

    return call


@contextlib.contextmanager
def explained_memory(setting: str) -> Iterator[None]:
    """Context manager: turn PyTorch's out-of-memory errors into a message that names a setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not (on_gpu or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)):
            raise
        where, shows = ("GPU", "nvidia-smi") if on_gpu else ("machine", "top")
        raise GeniferError(
            f"the {where} has not enough memory ({str(error).splitlines()[0]}): lower {setting}, or free "
            f"memory ({shows} shows what uses it), and run the same command again"
        ) from error
