"""Replay: samples of old classes, made by a generator."""

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
    """Generate images of the labels, clamped to valid pixels; in the direct mode features.

    Args:
        z, labels: (n, latent_dim) and (n,).
        noise: maps for the generator's convolutions, as `Generator.draw_noise` makes them.

    Returns:
        (n, channels, size, size), normalised; pooled features are (n, channels).
    """
    samples = generator(z, labels, noise).float()
    return normalize.clamp(samples) if generator.stage == 0 else samples
