"""The generator: latent vector and class to an image, style by style (after Karras et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genifer.nn.layers import ClassEmbedding, EqualizedConv2d, EqualizedLinear, leaky_relu

PAPER_CHANNELS = (512, 512, 256, 256, 128, 128, 64, 64)
"""Channels of the constant and after each convolution, for images of 32 pixels."""


def default_channels(image_size: int) -> list[int]:
    """The paper's channels as far as an image of this size needs them."""
    return list(PAPER_CHANNELS[: 2 * (image_size.bit_length() - 3) + 2])


class StyledConv(nn.Module):
    """Scale and shift each channel by the style, convolve, add noise if asked, activate."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int) -> None:
        super().__init__()
        self.to_scale = EqualizedLinear(style_dim, in_channels, initial_bias=1.0)
        self.to_shift = EqualizedLinear(style_dim, in_channels)
        self.conv = EqualizedConv2d(in_channels, out_channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.to_scale(style), self.to_shift(style)
        return self.conv(torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None]))


class Generator(nn.Module):
    """Makes images in the classifier's input space (normalised, not clamped).

    Args:
        n_classes: classes of the whole scenario.
        channels: of the learned 4 x 4 constant and after each convolution.
        image_channels: 1 or 3.
    """

    def __init__(
        self,
        n_classes: int,
        latent_dim: int,
        embedding_dim: int,
        style_dim: int,
        channels: Sequence[int],
        image_channels: int,
    ) -> None:
        super().__init__()
        self.description: dict[str, Any] = {
            "n_classes": n_classes,
            "latent_dim": latent_dim,
            "embedding_dim": embedding_dim,
            "style_dim": style_dim,
            "channels": list(channels),
            "image_channels": image_channels,
        }
        self.latent_dim = latent_dim
        self.embedding = ClassEmbedding(n_classes, embedding_dim)
        self.mapping = nn.ModuleList(
            [
                EqualizedLinear(latent_dim + embedding_dim, style_dim, lr_mul=0.01),
                EqualizedLinear(style_dim, style_dim, lr_mul=0.01),
            ]
        )
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.convs = nn.ModuleList(
            StyledConv(before, after, style_dim) for before, after in pairwise(channels)
        )
        self.noise_scales = nn.ParameterList(torch.zeros(1, after, 1, 1) for after in channels[1:])
        self.to_image = StyledConv(channels[-1], image_channels, style_dim)

    def draw_noise(self, n: int, rng: torch.Generator) -> list[Tensor]:
        """One noise map (n, 1, side, side) for each convolution, standard normal."""
        device = self.constant.device
        sides = [4 * 2 ** (index // 2) for index in range(len(self.convs))]
        return [torch.randn(n, 1, side, side, generator=rng, device=device) for side in sides]

    def forward(self, z: Tensor, labels: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Images (n, image channels, size, size) for z (n, latent_dim) and labels (n,)."""
        style = torch.cat([z, self.embedding(labels)], dim=1)
        for layer in self.mapping:
            style = leaky_relu(layer(style))
        x = self.constant.expand(len(z), -1, -1, -1)
        for index, conv in enumerate(self.convs):
            x = leaky_relu(conv(x, style) + self.noise_scales[index] * noise[index])
            if index % 2:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.to_image(x, style)
