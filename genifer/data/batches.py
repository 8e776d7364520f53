"""A task's images on the device, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genifer.errors import GeniferError
from genifer.runtime.tensors import load_tensors


@dataclass(frozen=True)
class TaskData:
    """The images of one task (for the joint bound: of several), on the device.

    Attributes:
        images: (n, channels, size, size), uint8.
        labels: (n,), int64, positions in the class order.
        tasks: number of new classes of every task of the scenario.
        task: the last task whose images are here.
        mean, std: of each channel, for values 0..1.
        class_names: of all classes, in the class order.
    """

    images: Tensor
    labels: Tensor
    tasks: tuple[int, ...]
    task: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]

    @property
    def n_old(self) -> int:
        """Classes learned before this task."""
        return sum(self.tasks[: self.task])

    @property
    def n_new(self) -> int:
        return self.tasks[self.task]

    @property
    def n_classes(self) -> int:
        """Classes of the whole scenario."""
        return sum(self.tasks)


def load_task_data(paths: Sequence[Path], device: torch.device) -> TaskData:
    """Read prepared files of one split; several files are joined in their order."""
    read = [load_tensors(path, "data set") for path in paths]
    first = read[0][1]
    for path, (_, description) in zip(paths, read, strict=True):
        for key in ("tasks", "class_order", "mean", "std"):
            if description[key] != first[key]:
                raise GeniferError(
                    f"{path}: was prepared with another {key} than {paths[0]}; prepare the data again"
                )
    return TaskData(
        torch.cat([tensors["images"] for tensors, _ in read]).to(device),
        torch.cat([tensors["labels"] for tensors, _ in read]).to(device),
        tuple(first["tasks"]),
        max(description["task"] for _, description in read),
        tuple(first["mean"]),
        tuple(first["std"]),
        tuple(first["class_names"]),
    )


class Normalization(torch.nn.Module):
    """uint8 images to the classifier's input space, and the range of valid pixels there."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images.float() / 255 - self.mean) / self.std

    def clamp(self, images: Tensor) -> Tensor:
        """Clamp normalised images to what pixels 0..255 can be."""
        return torch.maximum(torch.minimum(images, (1 - self.mean) / self.std), -self.mean / self.std)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Normalised images back to uint8."""
        return ((images * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)


class ShuffledBatches:
    """Endless batches (images, labels): one random permutation of all images after another.

    Its state is what is left of the permutation.
    """

    def __init__(self, data: TaskData, batch_size: int, rng: torch.Generator) -> None:
        self.data = data
        self.batch_size = batch_size
        self.rng = rng
        self.left = torch.empty(0, dtype=torch.int64, device=data.images.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        data = self.data
        while len(self.left) < self.batch_size:
            permutation = torch.randperm(len(data.labels), generator=self.rng, device=self.left.device)
            self.left = torch.cat([self.left, permutation])
        batch, self.left = self.left[: self.batch_size], self.left[self.batch_size :]
        return data.images[batch], data.labels[batch]

    def state_dict(self) -> dict[str, Tensor]:
        return {"left": self.left.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.left = state["left"].to(self.left.device)


def random_crop_and_flip(images: Tensor, padding: int, flip: bool, rng: torch.Generator) -> Tensor:
    """Shift each image by up to ``padding`` pixels (its border is repeated) and mirror half of them.

    Args:
        images: (n, channels, size, size), float.
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
