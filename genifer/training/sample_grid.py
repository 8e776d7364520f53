"""A sample grid of a generator during its training, with one column per class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genifer.data.batches import Normalization
from genifer.nn.generator import Generator
from genifer.training.replay import generate_replay

ROWS = 4
MOST_CLASSES = 50
GAP = 1
"""Number of white pixels between samples."""


class SampleGrid:
    """Generates sample grids from the same latent vectors and noise every time.

    Args:
        n_classes: number of classes that the generator learns; only the last `MOST_CLASSES` are shown.
        seed: of the latent vectors and noise.
    """

    def __init__(
        self,
        generator: Generator,
        n_classes: int,
        normalize: Normalization,
        seed: int,
        device: torch.device,
    ) -> None:
        rng = torch.Generator(device).manual_seed(seed)
        self.normalize = normalize
        self.labels = torch.arange(max(n_classes - MOST_CLASSES, 0), n_classes, device=device).repeat(ROWS)
        self.z = torch.randn(len(self.labels), generator.latent_dim, generator=rng, device=device)
        self.noise = generator.draw_noise(len(self.labels), rng)

    def __call__(self, generator: Generator) -> Tensor:
        """Return a sample grid (channels, height, width), uint8, on the CPU."""
        images = self.normalize.to_pixels(
            generate_replay(generator, self.z, self.labels, self.noise, self.normalize)
        )
        # Not torchvision's make_grid: its import takes as long as a hundred steps of a small GAN.
        framed = F.pad(images.cpu(), (0, GAP, 0, GAP), value=255)
        rows = framed.unflatten(0, (ROWS, -1)).permute(2, 0, 3, 1, 4)
        return rows.flatten(3).flatten(1, 2)[:, :-GAP, :-GAP]
