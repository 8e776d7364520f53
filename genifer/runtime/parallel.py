"""Communication between the processes of one training; no effect with one process.

Every process draws the same random numbers for the whole batch and trains on its part: with n processes, on
every nth sample. Gradients are averaged after the backward pass, and operations that relate samples to each
other (batch norm, minibatch standard deviation) are computed over the whole batch, with their gradients. So
the result equals that of one process with the whole batch, up to rounding.

DistributedDataParallel is not used: a step of the GAN calls its networks several times with parts of them
frozen, and R1 computes gradients with `torch.autograd.grad`, which it does not support. One all-reduce of all
gradients is always exact, but does not overlap with the backward pass.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from genifer.errors import GeniferError, ProcessLost
from genifer.runtime.processes import RENDEZVOUS, is_one_of_several

Value = TypeVar("Value")

TIMEOUT = timedelta(minutes=30)
"""Time limit for the other processes; long, because the first process may be writing its state."""

_size, _rank = 1, 0
_control: dist.ProcessGroup | None = None
"""Group for messages on the CPU, so that no GPU has to be waited for; None: the default group."""


@contextmanager
def joined(count: int, device: torch.device) -> Iterator[None]:
    """Context manager: join the other processes of a training, if this process was started as one of several.

    Args:
        count: ``runtime.gpus_per_job``.
        device: the training's device; each process uses the GPU with its own number.

    Raises:
        GeniferError: there are too few GPUs.
    """
    global _size, _rank, _control
    if count == 1 or not is_one_of_several():
        yield
        return
    rank, on_gpu = int(os.environ["RANK"]), device.type == "cuda"
    if on_gpu:
        found, wanted = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
        if found <= wanted:
            raise GeniferError(
                f"runtime.gpus_per_job: {count}, but this training sees {found} GPU{'s'[: found != 1]} "
                "(CUDA_VISIBLE_DEVICES, or the scheduler, may limit them); lower it, or give it more GPUs"
            )
        torch.cuda.set_device(wanted)
    with _peers_needed():
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            init_method=f"file://{os.environ[RENDEZVOUS]}" if RENDEZVOUS in os.environ else "env://",
            rank=rank,
            world_size=count,
            timeout=TIMEOUT,
        )
        if on_gpu:
            group = dist.new_group(backend="gloo", timeout=TIMEOUT)
            assert isinstance(group, dist.ProcessGroup)
            _control = group
    _size, _rank = count, rank
    try:
        yield
        with _peers_needed():
            dist.barrier(_control)
            dist.destroy_process_group()
    finally:
        _size, _rank, _control = 1, 0, None


def size() -> int:
    """Return the number of processes of the training."""
    return _size


def is_first() -> bool:
    """Return whether this process writes the training's files."""
    return _rank == 0


def require_even(setting: str, value: int, parts: Mapping[str, int]) -> None:
    """Reject a batch that the processes cannot share equally.

    Args:
        setting: name of the setting that determines the batch.
        value: its value.
        parts: number of samples of each kind in a batch, by a description of the kind.

    Raises:
        GeniferError: a number is not a multiple of the number of processes.
    """
    if any(count % _size for count in parts.values()):
        what = " and ".join(f"{count} {name}" for name, count in parts.items() if count)
        raise GeniferError(
            f"{setting}: {value} gives batches of {what}, which {_size} processes (runtime.gpus_per_job) "
            f"cannot share equally; choose it so that each of these numbers is a multiple of {_size}, or set "
            "runtime.gpus_per_job: 1"
        )


def own(batch: Value) -> Value:
    """Return this process's part of a batch: every nth row of each tensor, beginning with its own number.

    This way, kinds of samples that follow each other in a tensor are shared equally and stay in order.

    Raises:
        GeniferError: the processes cannot share the batch equally.
    """
    if _size == 1:
        return batch
    parts: Any
    if isinstance(batch, Tensor):
        if len(batch) % _size:
            raise GeniferError(
                f"a batch holds {len(batch)} samples, which {_size} processes (runtime.gpus_per_job) cannot "
                "share equally; change the batch size, or set runtime.gpus_per_job: 1"
            )
        parts = batch[_rank::_size]
    elif isinstance(batch, Mapping):
        parts = {name: own(part) for name, part in batch.items()}
    elif isinstance(batch, list | tuple):
        several = [own(part) for part in batch]
        parts = type(batch)(*several) if hasattr(batch, "_fields") else type(batch)(several)
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        parts = dataclasses.replace(batch, **own(vars(batch)))
    else:
        parts = batch
    return parts


def gathered(x: Tensor, dim: int = 0) -> Tensor:
    """Join the parts of all processes along a dimension, in the order of the whole batch.

    The result is twice differentiable; the gradient is that of the sum of all processes' losses.
    """
    if _size == 1:
        return x
    return _Gather.apply(x).movedim(0, dim + 1).flatten(dim, dim + 1)


class _Gather(torch.autograd.Function):
    """Stacks tensors (...) of all processes to (processes, ...)."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(_size)]
        with _peers_needed():
            dist.all_gather(parts, x.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _Scatter.apply(gradient)


class _Scatter(torch.autograd.Function):
    """Sums tensors (processes, ...) over all processes, and returns this process's row."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return summed(x)[_rank]

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _Gather.apply(gradient)


def summed(x: Tensor) -> Tensor:
    """Return the sum of all processes' tensors, without a gradient."""
    if _size == 1:
        return x
    total = x.detach().clone(memory_format=torch.contiguous_format)
    with _peers_needed():
        dist.all_reduce(total)
    return total


def averaged(scalars: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the means of scalars over all processes, without a gradient."""
    if _size == 1 or not scalars:
        return scalars
    means = summed(torch.stack([value.detach().float() for value in scalars.values()])) / _size
    return dict(zip(scalars, means.unbind(), strict=True))


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the parameters' gradients by their means over all processes."""
    if _size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with _peers_needed():
        dist.all_reduce(flat)
    flat /= _size
    parts = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(
        gradients, [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
    )


def tensors_of_first(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the first process's tensors; all processes pass tensors of the same names, types and shapes."""
    if _size > 1:
        with _peers_needed():
            for tensor in tensors.values():
                dist.broadcast(tensor, 0)
    return tensors


def of_first(value: Value) -> Value:
    """Return the first process's value, a small picklable object."""
    if _size == 1:
        return value
    values = [value]
    with _peers_needed():
        dist.broadcast_object_list(values, 0, _control)
    return values[0]


def largest(*numbers: int) -> list[int]:
    """Return the maximum of each number over all processes, for actions that all take at the same step."""
    if _size == 1:
        return list(numbers)
    together = torch.tensor(numbers)
    with _peers_needed():
        dist.all_reduce(together, dist.ReduceOp.MAX, _control)
    return together.tolist()


def in_own_place(number: int) -> list[int]:
    """Return a list with this number at this process's index, from which `largest` collects all numbers."""
    return [number if rank == _rank else 0 for rank in range(_size)]


@contextmanager
def _peers_needed() -> Iterator[None]:
    """Context manager: turn errors of communication into one that says that another process has ended."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ProcessLost(
            f"process {os.environ['RANK']} lost the connection to another process of its training, which "
            f"has failed ({str(error).splitlines()[0]}); see that process's message"
        ) from error
