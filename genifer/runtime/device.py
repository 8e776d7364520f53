"""Where and how precisely to compute."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from genifer.errors import GeniferError


def pick_device(name: str) -> torch.device:
    """The device for ``runtime.device``.

    Raises:
        GeniferError: ``cuda`` on a machine where PyTorch finds no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise GeniferError(
            "runtime.device: cuda, but PyTorch finds no CUDA device here; set runtime.device: cpu, "
            "or run on a machine with a GPU and its driver (nvidia-smi shows them)"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def configure(device: torch.device, precision: str, deterministic: bool = False) -> None:
    """Set PyTorch up for one stage: TF32 and deterministic algorithms only where they were asked for."""
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


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """bfloat16 for convolutions and products where it was asked for, else nothing."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


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
