"""Self-supervision by rotations, each learned as a class of its own (Lee et al., 2020).

PASS (Zhu et al., 2021), FeTrIL (Petit et al., 2023) and FeCAM (Goswami et al., 2023) train the first task
this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genifer.methods.method import Batch, Method

if TYPE_CHECKING:
    from torch import Tensor

ROTATIONS = 3
"""Number of rotations per image: by 90, 180 and 270 degrees."""


def rotate(images: Tensor, labels: Tensor, n_new: int) -> tuple[Tensor, Tensor]:
    """Append the rotated images, labelled as additional classes after all others.

    Args:
        images: (n, channels, size, size): images of the new classes.
        labels: (n,): their labels, among the last ``n_new`` classes.

    Returns:
        Images (4 n, channels, size, size) and labels (4 n,).
    """
    import torch

    rotated = [images.rot90(turns, (2, 3)) for turns in range(ROTATIONS + 1)]
    return torch.cat(rotated), torch.cat([labels + turns * n_new for turns in range(ROTATIONS + 1)])


class FirstTaskWithRotations(Method):
    """The first task's training with three additional, rotated classes per class."""

    def setup(self) -> None:
        """Add the rotated classes to the head."""
        self.classifier.grow(ROTATIONS * self.data.n_new)

    def draw_batch(self) -> Batch:
        """Draw images, and append their rotations."""
        batch = super().draw_batch()
        return Batch(*rotate(batch.images, batch.labels, self.data.n_new))

    def finish(self) -> dict[str, Tensor]:
        """Drop the rotated classes."""
        self.classifier.keep_classes(self.data.n_new)
        return {}
