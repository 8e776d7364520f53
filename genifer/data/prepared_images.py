"""The images of prepared files: on the device, or mapped into memory and read by rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE = 10**9
"""Bytes from which on images may have to come from the disk, so that batches are read ahead."""

SHARE_OF_DEVICE = 0.25
"""Images that take at most this share of a GPU's free memory are kept there, for ``auto``."""

BATCHES_AHEAD = 3


class PreparedImages:
    """Images (n, channels, size, size), uint8, of one or several files.

    A number, a slice, a tensor of rows or a mask in brackets gives a tensor on the device; only these images
    are read. Whatever else a tensor can do works too, but reads all of them.

    Args:
        parts: images of each file, all of one shape: mapped into memory, or one tensor on the device.
        device: where what is read goes.
    """

    def __init__(self, parts: Sequence[Tensor], device: torch.device) -> None:
        self.parts = tuple(parts)
        self.device = device
        self.ends: NDArray[np.int64] = np.cumsum([len(part) for part in parts])
        self.shape = torch.Size((int(self.ends[-1]), *parts[0].shape[1:]))

    @classmethod
    def of(cls, images: Tensor) -> PreparedImages:
        """Images that lie on their device already."""
        return cls([images], images.device)

    @property
    def on_host(self) -> bool:
        """Whether they lie in the host's memory, or in files that are mapped into it."""
        return self.parts[0].device.type == "cpu"

    @property
    def are_streamed(self) -> bool:
        """Whether batches are worth reading ahead: from the disk, or to another device."""
        return self.on_host and (self.device.type != "cpu" or self.shape.numel() >= LARGE)

    def kept_on_device(self) -> PreparedImages:
        """Copy them to the device's memory."""
        images = torch.empty(self.shape, dtype=torch.uint8, device=self.device)
        for part, end in zip(self.parts, self.ends.tolist(), strict=True):
            images[end - len(part) : end] = part
        return PreparedImages([images], self.device)

    def joined(self, more: Tensor) -> PreparedImages:
        """These and, after them, other images."""
        if self.on_host:
            return PreparedImages([*self.parts, more.cpu()], self.device)
        return PreparedImages([torch.cat([*self.parts, more])], self.device)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, Tensor) and index.dim() == 1:
            return self.take(index.nonzero().squeeze(1) if index.dtype == torch.bool else index)
        if len(self.parts) == 1:
            return self.parts[0][index].to(self.device)
        if isinstance(index, int):
            row = range(len(self))[index]
            number = int(np.searchsorted(self.ends, row, side="right"))
            return self.parts[number][row - self.ends[number]].to(self.device)
        if isinstance(index, slice):
            return self.take(torch.arange(len(self))[index])
        return self.whole()[index]

    def take(self, rows: Tensor) -> Tensor:
        """Some images, by their rows (m,), int64."""
        if not self.on_host:
            return self.parts[0][rows.to(self.device)]
        return self.read(rows.cpu(), self.buffer(len(rows))).to(self.device, non_blocking=True)

    def buffer(self, count: int) -> Tensor:
        """Host memory for some images; for a GPU it is pinned, so that the copy there does not wait."""
        pinned = self.device.type == "cuda"
        return torch.empty((count, *self.shape[1:]), dtype=torch.uint8, pin_memory=pinned)

    def read(self, rows: Tensor, buffer: Tensor) -> Tensor:
        """Read images to a buffer of the host.

        NumPy copies rows without threads of its own, which PyTorch starts for each batch.
        """
        wanted = rows.numpy()
        n = len(self)
        if len(wanted) and not -n <= wanted.min() <= wanted.max() < n:
            raise IndexError(f"row {wanted.min()} or {wanted.max()} of {n} images")
        wanted, images = np.where(wanted < 0, wanted + n, wanted), buffer.numpy()
        if len(self.parts) == 1:
            np.take(self.parts[0].numpy(), wanted, axis=0, out=images, mode="clip")
            return buffer
        of_part = np.searchsorted(self.ends, wanted, side="right")
        for number, part in enumerate(self.parts):
            places = np.flatnonzero(of_part == number)
            if len(places):
                images[places] = part.numpy()[wanted[places] - (self.ends[number] - len(part))]
        return buffer

    def whole(self) -> Tensor:
        """All images as one tensor on the device."""
        if len(self.parts) == 1:
            return self.parts[0].to(self.device)
        return self.kept_on_device().parts[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(Tensor, name):
            raise AttributeError(f"prepared images have no attribute '{name}'")
        return getattr(self.whole(), name)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        def plain(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [plain(entry) for entry in value]
            return value.whole() if isinstance(value, cls) else value

        return function(*map(plain, args), **{name: plain(value) for name, value in (kwargs or {}).items()})


class ReadAhead:
    """Reads the batches that come next in a thread, while the steps before them are computed.

    Args:
        images: on the host.
    """

    def __init__(self, images: PreparedImages) -> None:
        self.images = images
        self.thread = ThreadPoolExecutor(1, "images")
        self.reading: deque[Future[Tensor]] = deque()

    def take(self, rows: Tensor) -> Tensor:
        """The images of the next batch, which was announced, or is read now."""
        if not self.reading:
            return self.images.take(rows)
        return self.reading.popleft().result().to(self.images.device, non_blocking=True)

    def announce(self, rows: Tensor, batch_size: int) -> None:
        """Start to read.

        Args:
            rows: of the images that follow, on the host; those of batches that were announced before come
                first.
        """
        complete = rows.split(batch_size)[: len(rows) // batch_size]
        for batch in complete[len(self.reading) : BATCHES_AHEAD]:
            # Not in the thread, where another GPU may be the current one.
            buffer = self.images.buffer(len(batch))
            self.reading.append(self.thread.submit(self.images.read, batch, buffer))

    def forget(self) -> None:
        """Drop what was announced."""
        self.reading.clear()
