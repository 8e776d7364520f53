"""Safetensors files with tensors, a description and a checksum, for data sets and checkpoints."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genifer.errors import GeniferError
from genifer.runtime.files import atomic_write


def save_tensors(path: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write tensors, a JSON description and a checksum of both; the file appears complete or not at all."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = json.dumps(description)
    # One entry only: safetensors writes several entries in random order, but equal content must give equal
    # bytes.
    metadata = {"genifer": f"{_checksum(on_cpu, described)} {described}"}
    with atomic_write(path) as temporary:
        try:
            save_file(on_cpu, temporary, metadata=metadata)
        except SafetensorError as error:
            # safetensors raises it for all errors of writing, such as a full disk.
            raise OSError(str(error)) from error


class InPieces(NamedTuple):
    """A tensor that is computed while it is written.

    Attributes:
        dtype: uint8 or int64.
        shape: shape of the whole tensor.
        pieces: its parts along the first dimension, in order.
    """

    dtype: torch.dtype
    shape: Sequence[int]
    pieces: Iterable[Tensor]


DTYPES = {torch.int64: "I64", torch.uint8: "U8"}
"""Names of types in a safetensors file; as in `save_file`, types with more bytes per element come first."""
ALIGNMENT = 8
"""The header of a safetensors file is padded to a multiple of this many bytes."""


def save_in_pieces(path: Path, tensors: Mapping[str, InPieces], description: Mapping[str, Any]) -> None:
    """Write the same bytes as `save_tensors` without holding a whole tensor in memory.

    The header of a safetensors file is its length (8 bytes, little-endian) followed by JSON with the position
    of each tensor (https://github.com/safetensors/safetensors, format).
    """
    described = json.dumps(description)
    order = list(DTYPES)
    places: dict[str, int] = {}
    entries: dict[str, Any] = {"__metadata__": None}
    end = 0
    for name, (dtype, shape, _) in sorted(tensors.items(), key=lambda t: (order.index(t[1].dtype), t[0])):
        places[name], size = end, math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [end, end + size]}
        end += size

    def header(checksum: str) -> bytes:
        entries["__metadata__"] = {"genifer": f"{checksum} {described}"}
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        return len(text).to_bytes(8, "little") + text

    digest = hashlib.sha256(described.encode())
    start = len(header(digest.hexdigest()))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        for name, (dtype, shape, pieces) in sorted(tensors.items()):
            digest.update(_digest_head(name, dtype, shape))
            file.seek(start + places[name])
            for piece in pieces:
                content = _bytes_of(piece.contiguous())
                digest.update(content)
                file.write(content)
        file.seek(0)
        file.write(header(digest.hexdigest()))


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and description, and verify their checksum, without running code from the file.

    Raises:
        GeniferError: the file is missing, damaged, or not of this kind.
    """
    with _opened(path, kind) as (file, description):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        checksum, described = _metadata(file)
        if _checksum(tensors, described) != checksum:
            raise ValueError("its checksum is wrong")
        return tensors, description


def _metadata(file: Any) -> tuple[str, str]:
    """Return the checksum and description of an open file."""
    checksum, described = (file.metadata() or {})["genifer"].split(" ", 1)
    return checksum, described


def _checksum(tensors: dict[str, Tensor], description: str) -> str:
    """Return the SHA-256 of the description and all tensors with their names, types and shapes."""
    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(_digest_head(name, tensor.dtype, tensor.shape))
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _digest_head(name: str, dtype: torch.dtype, shape: Sequence[int]) -> bytes:
    return f"\n{name} {dtype} {list(shape)}\n".encode()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def load_description(path: Path, kind: str) -> dict[str, Any]:
    """Read only the description."""
    with _opened(path, kind) as (_, description):
        return description


def has_description(path: Path) -> bool:
    """Return whether a file was written by `save_tensors`."""
    try:
        with safe_open(path, framework="pt") as file:
            return "genifer" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_shape(path: Path, kind: str, name: str) -> tuple[int, ...]:
    """Read the shape of a tensor without reading the tensor."""
    with _opened(path, kind) as (file, _):
        return tuple(file.get_slice(name).get_shape())


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads(_metadata(file)[1])
            if description["kind"] == kind:
                yield file, description
                return
    except FileNotFoundError:
        raise GeniferError(f"{path}: is missing; run the job that writes it (snakemake does)") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise GeniferError(
            f"{path}: is not a readable {kind} of genifer ({reason}); delete it, then run snakemake again "
            "(or dvc checkout, if DVC tracks it)"
        ) from error
    raise GeniferError(f"{path}: holds a {description['kind']}, but a {kind} is needed here")


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def load_state(module: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load a state dict.

    Raises:
        GeniferError: entries are missing, extra or of the wrong shape; the message names them.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise GeniferError(f"{path}: does not fit its own description: {error}") from error
