"""Replay: a generator's samples of old classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genifer.data.batches import Normalization
from genifer.nn.generator import Generator


@torch.no_grad()
def generate_replay(
    generator: Generator, z: Tensor, labels: Tensor, noise: Sequence[Tensor], normalize: Normalization
) -> Tensor:
    """Generate images of the requested classes, clamped to valid pixel values; in direct mode, features.

    Args:
        z: (n, latent_dim): latent vectors.
        labels: (n,): requested classes.
        noise: noise maps for the generator's convolutions, from `Generator.draw_noise`.

    Returns:
        Normalised images (n, channels, size, size), features of that form, or pooled features (n, channels).
    """
    samples = generator(z, labels, noise).float()
    return normalize.clamp(samples) if generator.stage == 0 else samples
