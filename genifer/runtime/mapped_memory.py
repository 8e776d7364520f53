"""Advice to the system on files that are mapped into memory."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor

MADV_RANDOM, MADV_WILLNEED = 1, 3
"""Linux's madvise (sys/mman.h)."""

_MADVISE = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None


def will_be_read_at_random(tensor: Tensor) -> None:
    """Say that what lies beside an element need not be read with it.

    Otherwise the system reads up to megabytes around every page that it does not have in memory yet.
    """
    _advise(tensor, MADV_RANDOM)


def read_soon(tensor: Tensor) -> None:
    """Start to read what is not in memory yet, without waiting for it."""
    _advise(tensor, MADV_WILLNEED)


def _advise(tensor: Tensor, advice: int) -> None:
    """Nothing happens where the system knows no such advice, or the tensor does not lie in a mapped file."""
    if _MADVISE is not None and tensor.numel():
        start = tensor.data_ptr()
        first_page = start - start % mmap.PAGESIZE
        end = start + tensor.numel() * tensor.element_size()
        _MADVISE(ctypes.c_void_p(first_page), ctypes.c_size_t(end - first_page), advice)
