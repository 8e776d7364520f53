"""Advice to the operating system about memory-mapped files."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor

MADV_RANDOM, MADV_WILLNEED = 1, 3
"""Values of advice for Linux's madvise (sys/mman.h)."""

_MADVISE = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None


def will_be_read_at_random(tensor: Tensor) -> None:
    """Advise the system not to read ahead around the elements of a tensor.

    Otherwise it reads up to megabytes around every page that is not in memory yet.
    """
    _advise(tensor, MADV_RANDOM)


def read_soon(tensor: Tensor) -> None:
    """Start to read the parts of a tensor that are not in memory yet, without waiting for them."""
    _advise(tensor, MADV_WILLNEED)


def _advise(tensor: Tensor, advice: int) -> None:
    """Give advice about a tensor's memory, if the system supports it; no effect outside mapped files."""
    if _MADVISE is not None and tensor.numel():
        start = tensor.data_ptr()
        first_page = start - start % mmap.PAGESIZE
        end = start + tensor.numel() * tensor.element_size()
        _MADVISE(ctypes.c_void_p(first_page), ctypes.c_size_t(end - first_page), advice)
