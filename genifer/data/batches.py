"""The images of a task, and batches of them on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from genifer.data.prepared_images import SHARE_OF_DEVICE, PreparedImages, ReadAhead
from genifer.errors import GeniferError
from genifer.runtime.tensors import load_tensors

OnDevice = bool | Literal["auto"]


@dataclass(frozen=True)
class TaskData:
    """The images of one task, or of several tasks together.

    Attributes:
        images: (n, channels, size, size), uint8; indexing them gives tensors on the device.
        labels: (n,), int64: positions in the class order, on the device.
        tasks: number of new classes in each task of the scenario.
        task: the latest task that the images belong to.
        mean, std: one value per channel, for pixels scaled to 0..1.
        class_names: names of all classes, in the class order.
    """

    images: PreparedImages
    labels: Tensor
    tasks: tuple[int, ...]
    task: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]

    @property
    def n_old(self) -> int:
        """Number of classes learned before this task."""
        return sum(self.tasks[: self.task])

    @property
    def n_new(self) -> int:
        """Number of classes that are new in this task."""
        return self.tasks[self.task]

    @property
    def n_classes(self) -> int:
        """Number of classes in the whole scenario."""
        return sum(self.tasks)

    def of_class(self, label: int) -> Tensor:
        """Return the images of a class (m, channels, size, size), in order."""
        return self.images[self.labels == label]

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images and labels once, in order."""
        for start, labels in zip(
            range(0, len(self.labels), batch_size), self.labels.split(batch_size), strict=True
        ):
            yield self.images[start : start + batch_size], labels


def load_task_data(paths: Sequence[Path], device: torch.device, on_device: OnDevice = False) -> TaskData:
    """Open prepared files of one split, in the given order.

    Args:
        paths: one file per task.
        on_device: whether to copy the images to the device's memory. Otherwise the files are mapped into the
            host's memory, and batches are copied to the device. ``auto`` copies the images to a GPU if they
            take a small part of its free memory.

    Raises:
        GeniferError: a file is missing or damaged, or the files belong to different scenarios.
    """
    read = [load_tensors(path, "data set") for path in paths]
    first = read[0][1]
    for path, (_, description) in zip(paths, read, strict=True):
        for key in ("tasks", "class_order", "mean", "std"):
            if description[key] != first[key]:
                raise GeniferError(
                    f"{path}: was prepared with a different {key} than {paths[0]}; prepare the data again"
                )
    images = PreparedImages([tensors["images"] for tensors, _ in read], device, mapped=True)
    if _fits(images) if on_device == "auto" else on_device:
        images = images.kept_on_device()
    return TaskData(
        images,
        torch.cat([tensors["labels"] for tensors, _ in read]).to(device),
        tuple(first["tasks"]),
        max(description["task"] for _, description in read),
        tuple(first["mean"]),
        tuple(first["std"]),
        tuple(first["class_names"]),
    )


def _fits(images: PreparedImages) -> bool:
    """Return whether images fit in a GPU's memory besides the training."""
    if images.device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(images.device)
    return images.shape.numel() <= SHARE_OF_DEVICE * free


def only(paths: Sequence[Path]) -> Sequence[Path]:
    """Return the paths, which must name a single file of images.

    Raises:
        GeniferError: there are several files.
    """
    if len(paths) > 1:
        raise GeniferError(
            f"{len(paths)} files of images were given, but this training opens the images of one task only; "
            f"give only {paths[-1]}"
        )
    return paths


class Normalization(torch.nn.Module):
    """Normalises uint8 images to the classifier's input space, and converts them back.

    Args:
        mean, std: one value per channel, for pixels scaled to 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images (n, channels, size, size) with values 0..255."""
        return (images.float() / 255 - self.mean) / self.std

    def clamp(self, images: Tensor) -> Tensor:
        """Clamp normalised images to the range of valid pixels, 0..255 before normalisation."""
        return torch.maximum(torch.minimum(images, (1 - self.mean) / self.std), -self.mean / self.std)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Convert normalised images to uint8."""
        return ((images * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)


class ShuffledBatches:
    """Endless iterator over batches (images, labels) from successive random permutations of all images.

    The resume state is the rest of the current permutation. Images that are not on the device are read ahead,
    as far as the permutation is known; this changes neither the order nor the random numbers.

    Args:
        data: the images to draw from.
        batch_size: images per batch.
        rng: random generator on the device of the data.
    """

    def __init__(self, data: TaskData, batch_size: int, rng: torch.Generator) -> None:
        self.data = data
        self.batch_size = batch_size
        self.rng = rng
        self.ahead = ReadAhead(data.images) if data.images.are_streamed else None
        # Reading ahead needs the rows on the host.
        home = torch.device("cpu") if self.ahead is not None else data.labels.device
        self.left = torch.empty(0, dtype=torch.int64, device=home)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        data, device = self.data, self.data.labels.device
        while len(self.left) < self.batch_size:
            permutation = torch.randperm(len(data.labels), generator=self.rng, device=device)
            self.left = torch.cat([self.left, permutation.to(self.left.device)])
        batch, self.left = self.left[: self.batch_size], self.left[self.batch_size :]
        if self.ahead is None:
            return data.images[batch], data.labels[batch]
        images = self.ahead.take(batch)
        self.ahead.announce(self.left, self.batch_size)
        rows = batch.pin_memory() if device.type == "cuda" else batch
        return images, data.labels[rows.to(device, non_blocking=True)]

    def state_dict(self) -> dict[str, Tensor]:
        return {"left": self.left.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.left = state["left"].to(self.left.device)
        if self.ahead is not None:
            self.ahead.forget()


def random_crop_and_flip(images: Tensor, padding: int, flip: bool, rng: torch.Generator) -> Tensor:
    """Shift each image by up to ``padding`` pixels and mirror half of the images.

    Args:
        images: (n, channels, size, size), float.
        padding: pixels on each side that repeat the border before a random crop; 0: no crop.
        flip: whether to mirror.
        rng: random generator on the device of the images.

    Returns:
        Images of the same shape.
    """
    n, _, height, width = images.shape
    device = images.device
    if flip:
        mirrored = torch.rand(n, 1, 1, 1, generator=rng, device=device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    if padding:
        images = torch.nn.functional.pad(images, (padding,) * 4, mode="replicate")
        shift = torch.randint(0, 2 * padding + 1, (2, n, 1, 1), generator=rng, device=device)
        rows = shift[0] + torch.arange(height, device=device).view(1, -1, 1)
        columns = shift[1] + torch.arange(width, device=device).view(1, 1, -1)
        samples = torch.arange(n, device=device).view(-1, 1, 1)
        images = images.permute(0, 2, 3, 1)[samples, rows, columns].permute(0, 3, 1, 2)
    return images
