"""A palette of what a generator makes while it trains: one column a class."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.utils import make_grid

from genifer.data.batches import Normalization
from genifer.nn.generator import Generator
from genifer.training.genifer import replay

ROWS = 4
MOST_CLASSES = 50


class Palette:
    """Always the same latent vectors and noise, which have random numbers of their own.

    Args:
        n_classes: that the generator learns; of more than `MOST_CLASSES` the last ones are shown.
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
        """(channels, height, width), uint8, on the CPU."""
        images = self.normalize.to_pixels(replay(generator, self.z, self.labels, self.noise, self.normalize))
        sheet = make_grid(images.cpu(), nrow=len(self.labels) // ROWS, padding=1, pad_value=255)
        return sheet[: images.shape[1]]
