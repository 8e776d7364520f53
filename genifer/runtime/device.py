"""Where and how precisely to compute."""

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
"""Steps of a training from which on ``runtime.compile: auto`` compiles on a GPU, which takes minutes."""

DEVICES = ("auto", "cpu", "cuda")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""
LARGEST_KEPT, KEPT_AT_MOST = 128 * 2**20, 512 * 2**20
"""Bytes."""


def pick_device(name: str) -> torch.device:
    """Return the device for ``runtime.device``; auto is a GPU if PyTorch finds one.

    Raises:
        GeniferError: there is no such device, or ``cuda`` and PyTorch finds no GPU.
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
        # cuBLAS is deterministic with workspaces of a fixed size only; it reads this when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call alone takes a second
        torch.use_deterministic_algorithms(deterministic)
    torch.set_flush_denormal(True)
    if device.type == "cpu":
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors for the next ones, instead of giving it back.

    Otherwise tensors of many megabytes get fresh pages in every step, which the system has to clear first.
    Nothing happens where the library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT_AT_MOST)


def pick_compile(name: str, device: torch.device, steps: int, deterministic: bool) -> bool:
    """Whether to compile a training of so many steps, for ``runtime.compile``.

    On its own it does not where the same bits are asked for: a compiler may choose anew in every process.
    """
    if name == "auto":
        return device.type == "cuda" and steps >= WORTH_COMPILING and not deterministic
    return name == "on"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 for convolutions and products where it was asked for, else nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, compiled as one graph when it is called first; as it is, where that fails."""
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
    """Turn PyTorch's errors for want of memory into a message that names the setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not (on_gpu or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)):
            raise
        where, shows = ("GPU", "nvidia-smi") if on_gpu else ("machine", "top")
        raise GeniferError(
            f"the {where} has not enough memory ({str(error).splitlines()[0]}): lower {setting}, or make "
            f"room ({shows} shows who uses it), and run the same command again"
        ) from error
