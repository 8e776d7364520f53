"""Numbers of parameters and stored MB of a method, read from the headers of its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from genifer.errors import GeniferError
from genifer.methods.method import MEMORY

BITS = {"BOOL": 8, "BF16": 16, "C64": 64}
"""Bits of the types whose names do not end with their number of bits."""

MB = 10**6


def parameters(classifier: Path, unused: Sequence[str] | None) -> int | None:
    """Count the numbers used to classify: weights, batch-norm statistics and the method's memory.

    Integers, such as labels and batch counters, do not count.

    Args:
        classifier: checkpoint of the classifier.
        unused: entries of the memory that classification does not read; None: it reads none.

    Returns:
        None if there is no such file.

    Raises:
        GeniferError: the file is damaged.
    """
    if not classifier.is_file():
        return None
    skipped = {f"{MEMORY}.{name}" for name in unused or ()}
    return sum(
        prod(shape)
        for name, kind, shape in _header(classifier)
        if "F" in kind and name not in skipped and not (unused is None and name.startswith(f"{MEMORY}."))
    )


def stored_mb(files: Sequence[Path]) -> float | None:
    """Sum the sizes of the tensors in files.

    Returns:
        The sum in MB (10^6 bytes); None if a file is missing.

    Raises:
        GeniferError: a file is damaged.
    """
    if not all(path.is_file() for path in files):
        return None
    bits = sum(prod(shape) * _bits(kind) for path in files for _, kind, shape in _header(path))
    return bits / 8 / MB


def _header(path: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Return name, type and shape of each tensor in a file."""
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_slice(name)
                yield name, tensor.get_dtype(), tensor.get_shape()
    except (SafetensorError, OSError) as error:
        raise GeniferError(
            f"{path}: is not a readable file of genifer ({error}); delete it, then run snakemake again "
            "(or dvc checkout, if DVC has it)"
        ) from error


def _bits(kind: str) -> int:
    """Return the bits of a type: the digits in names such as F32, I64, U8 and F8_E4M3."""
    return BITS.get(kind) or int(kind[1:].partition("_")[0])
