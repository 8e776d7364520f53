"""The images in prepared files: on the device, or mapped into memory and read row by row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from genifer.runtime.mapped_memory import read_soon, will_be_read_at_random

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE = 10**9
"""Size in bytes from which images in mapped files may not stay in memory, so that the disk is read again."""

SHARE_OF_DEVICE = 0.25
"""Share of a GPU's free memory that images may take to be kept there with ``auto``."""

BATCHES_AHEAD = 3
"""Number of batches that are read into the host's memory before their step."""
REQUESTED_AHEAD = 16
"""Number of batches that are requested from the disk in advance; the disk reads them in parallel."""


class PreparedImages:
    """Images (n, channels, size, size), uint8, of one or several files.

    Indexing by a number, a slice, a tensor of rows or a mask returns a tensor on the device, and reads only
    these images. All other operations on tensors work too, but read all images.

    Args:
        parts: images of each file, all of the same shape, in the host's memory; or one tensor on the device.
        device: device of the tensors that are returned.
        mapped: whether the parts are memory-mapped files.
    """

    def __init__(self, parts: Sequence[Tensor], device: torch.device, *, mapped: bool = False) -> None:
        self.parts = tuple(parts)
        self.device = device
        self.mapped = mapped
        counts = np.array([len(part) for part in parts], dtype=np.int64)
        self.ends: NDArray[np.int64] = counts.cumsum()
        self.starts: NDArray[np.int64] = self.ends - counts
        self.shape = torch.Size((int(self.ends[-1]), *parts[0].shape[1:]))

    @classmethod
    def of(cls, images: Tensor) -> PreparedImages:
        """Wrap images that are already on their device."""
        return cls([images], images.device)

    @property
    def on_host(self) -> bool:
        """Whether the images are in the host's memory, or in files mapped into it."""
        return self.parts[0].device.type == "cpu"

    @property
    def are_on_disk(self) -> bool:
        """Whether the images may have to be read from the disk."""
        return self.mapped and self.shape.numel() >= LARGE

    @property
    def are_streamed(self) -> bool:
        """Whether reading ahead pays: batches come from the disk, or go to another device."""
        return self.are_on_disk or (self.on_host and self.device.type != "cpu")

    def kept_on_device(self) -> PreparedImages:
        """Return a copy in the device's memory."""
        images = torch.empty(self.shape, dtype=torch.uint8, device=self.device)
        for part, start in zip(self.parts, self.starts.tolist(), strict=True):
            images[start : start + len(part)] = part
        return PreparedImages([images], self.device)

    def joined(self, more: Tensor) -> PreparedImages:
        """Return these images followed by others."""
        if self.on_host:
            return PreparedImages([*self.parts, more.cpu()], self.device, mapped=self.mapped)
        return PreparedImages([torch.cat([*self.parts, more])], self.device)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, Tensor) and index.dim() == 1:
            return self.take(index.nonzero().squeeze(1) if index.dtype == torch.bool else index)
        if len(self.parts) == 1:
            some = self.parts[0][index]
            if self.are_on_disk and some.is_contiguous():
                read_soon(some)
            return some.to(self.device)
        if isinstance(index, int):
            row = range(len(self))[index]
            number = int(np.searchsorted(self.ends, row, side="right"))
            return self.parts[number][row - self.starts[number]].to(self.device)
        if isinstance(index, slice):
            return self.take(torch.arange(len(self))[index])
        return self.whole()[index]

    def take(self, rows: Tensor) -> Tensor:
        """Return the images in some rows (m,), int64."""
        if not self.on_host:
            return self.parts[0][rows.to(self.device)]
        rows = rows.cpu()
        if self.are_on_disk:
            self.request(rows[(rows >= 0) & (rows < len(self))])
        return self.read(rows, self.buffer(len(rows))).to(self.device, non_blocking=True)

    def buffer(self, count: int) -> Tensor:
        """Allocate host memory for some images; pinned for a GPU, so that copies are asynchronous."""
        pinned = self.device.type == "cuda"
        return torch.empty((count, *self.shape[1:]), dtype=torch.uint8, pin_memory=pinned)

    def read(self, rows: Tensor, buffer: Tensor) -> Tensor:
        """Read images into a buffer on the host; with NumPy, since PyTorch would start threads."""
        wanted = rows.numpy()
        n = len(self)
        if len(wanted) and not -n <= wanted.min() <= wanted.max() < n:
            raise IndexError(f"row {wanted.min()} or {wanted.max()} of {n} images")
        wanted, images = np.where(wanted < 0, wanted + n, wanted), buffer.numpy()
        if len(self.parts) == 1:
            np.take(self.parts[0].numpy(), wanted, axis=0, out=images, mode="clip")
            return buffer
        of_part, in_part = self.places(wanted)
        for number, part in enumerate(self.parts):
            at = np.flatnonzero(of_part == number)
            if len(at):
                images[at] = part.numpy()[in_part[at]]
        return buffer

    def request(self, rows: Tensor) -> None:
        """Ask the operating system to read images from the disk, without waiting for them.

        Args:
            rows: (m,), int64, not negative.
        """
        for number, row in zip(*(places.tolist() for places in self.places(rows.numpy())), strict=True):
            read_soon(self.parts[number][row])

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return, for each row (not negative), its part and its row in that part."""
        of_part = np.searchsorted(self.ends, rows, side="right")
        return of_part, rows - self.starts[of_part]

    def whole(self) -> Tensor:
        """Return all images as one tensor on the device."""
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
    """Reads the next batches in a thread while the current step is computed.

    Args:
        images: images on the host.
    """

    def __init__(self, images: PreparedImages) -> None:
        self.images = images
        if images.are_on_disk:
            for part in images.parts:
                will_be_read_at_random(part)
        self.thread = ThreadPoolExecutor(1, "images")
        self.reading: deque[Future[Tensor]] = deque()
        self.requested = 0
        """Number of next batches that are requested from the disk, including those being read."""

    def take(self, rows: Tensor) -> Tensor:
        """Return the images of the next batch, which was announced before or is read now."""
        self.requested = max(0, self.requested - 1)
        if not self.reading:
            return self.images.take(rows)
        return self.reading.popleft().result().to(self.images.device, non_blocking=True)

    def announce(self, rows: Tensor, batch_size: int) -> None:
        """Start to read the next batches.

        Args:
            rows: rows of the next images, on the host, beginning with batches that were announced before.
            batch_size: images per batch.
        """
        ahead = min(len(rows) // batch_size, REQUESTED_AHEAD)
        batches = rows[: ahead * batch_size].split(batch_size)[:ahead]
        if self.images.are_on_disk:
            for batch in batches[self.requested :]:
                self.thread.submit(self.images.request, batch)
            self.requested = max(self.requested, ahead)
        for batch in batches[len(self.reading) : BATCHES_AHEAD]:
            # Allocated here, because another GPU may be the current device in the thread.
            buffer = self.images.buffer(len(batch))
            self.reading.append(self.thread.submit(self.images.read, batch, buffer))

    def forget(self) -> None:
        """Drop all announced batches."""
        self.reading.clear()
        self.requested = 0
