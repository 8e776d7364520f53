"""The generator: latent vector and class to an image, style by style (after Karras et al., 2019).

In the direct mode it makes the features of a stage of the classifier instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genifer.nn.layers import (
    ClassEmbedding,
    EqualizedConv2d,
    EqualizedLinear,
    leaky_relu,
    leaky_relu_,
    to_unit_moment,
)
from genifer.nn.stages import POOLED

PAPER_CHANNELS = (512, 512, 256, 256, 128, 128, 64, 64)
"""Channels of the constant and after each convolution, for images of 32 pixels."""
LARGER_CHANNELS = (32, 32, 16, 16, 8, 8)
"""For images of 64, 128 and 256 pixels, which the paper has none of."""


def default_channels(side: int) -> list[int]:
    """The paper's channels as far as a map of this side needs them, fewer beyond its 32 pixels."""
    return list((PAPER_CHANNELS + LARGER_CHANNELS)[: 2 * (side.bit_length() - 3) + 2])


class StyledConv(nn.Module):
    """Scale and shift each channel by the style, then convolve.

    The generator computes the scales and shifts of all its layers in one product.
    """

    def __init__(self, in_channels: int, out_channels: int, style_dim: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.to_scale = EqualizedLinear(style_dim, in_channels, initial_bias=1.0)
        self.to_shift = EqualizedLinear(style_dim, in_channels)
        self.conv = EqualizedConv2d(in_channels, out_channels)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Convolve x (n, in_channels, side, side).

        Args:
            scale, shift: (n, in_channels), multiplied by the equalised learning rate of the convolution,
                which therefore takes its weights as they are.
        """
        x = torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])
        return F.conv2d(x, self.conv.weight, self.conv.bias, padding=1)


class Generator(nn.Module):
    """Makes images in the classifier's input space (normalised, not clamped), or features of a stage.

    Args:
        n_classes: classes of the whole scenario.
        channels: of the learned 4 x 4 constant and after each convolution, which stand two at a side,
            from 4 up.
        out_channels: of the images, or of the features.
        stage: stage of the classifier whose features it makes; 0 for images.
        side: of these features, where it is smaller than the map they are computed on.
        normalize_inputs: whether latent vector and class embedding each enter the mapping network with a mean
            square of 1 (Karras et al., 2020, for conditional StyleGAN2). As an equalised map of a one-hot
            label the embedding's is 1 / n_classes, so the class hardly moves the styles at first.
        mapping_learning_rate: of the mapping network, relative to the other layers' (Karras et al., 2019,
            appendix C).
    """

    def __init__(
        self,
        n_classes: int,
        latent_dim: int,
        embedding_dim: int,
        style_dim: int,
        channels: Sequence[int],
        out_channels: int,
        stage: int = 0,
        side: int | None = None,
        normalize_inputs: bool = False,
        mapping_learning_rate: float = 0.01,
    ) -> None:
        super().__init__()
        self.side = 2 * 2 ** (len(channels) // 2) if side is None else side
        self.description: dict[str, Any] = {
            "n_classes": n_classes,
            "latent_dim": latent_dim,
            "embedding_dim": embedding_dim,
            "style_dim": style_dim,
            "channels": list(channels),
            "out_channels": out_channels,
            "stage": stage,
            "side": self.side,
            "normalize_inputs": normalize_inputs,
            "mapping_learning_rate": mapping_learning_rate,
        }
        self.normalize_inputs = normalize_inputs
        self.latent_dim = latent_dim
        self.stage = stage
        self.embedding = ClassEmbedding(n_classes, embedding_dim)
        self.mapping = nn.ModuleList(
            [
                EqualizedLinear(latent_dim + embedding_dim, style_dim, lr_mul=mapping_learning_rate),
                EqualizedLinear(style_dim, style_dim, lr_mul=mapping_learning_rate),
            ]
        )
        self.constant = nn.Parameter(torch.ones(1, channels[0], 4, 4))
        self.convs = nn.ModuleList(
            StyledConv(before, after, style_dim) for before, after in pairwise(channels)
        )
        self.noise_scales = nn.ParameterList(torch.zeros(1, after, 1, 1) for after in channels[1:])
        self.to_output = StyledConv(channels[-1], out_channels, style_dim)

    def draw_noise(self, n: int, rng: torch.Generator) -> list[Tensor]:
        """One noise map (n, 1, side, side) for each convolution, standard normal."""
        sides = [4 * 2 ** (index // 2) for index in range(len(self.convs))]
        drawn = torch.randn(sum(n * side**2 for side in sides), generator=rng, device=self.constant.device)
        maps = drawn.split([n * side**2 for side in sides])
        return [flat.view(n, 1, side, side) for flat, side in zip(maps, sides, strict=True)]

    def forward(self, z: Tensor, labels: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """What is made of z (n, latent_dim) and labels (n,).

        Returns:
            (n, out_channels, side, side); pooled features (n, out_channels).
        """
        embedded = self.embedding(labels)
        if self.normalize_inputs:
            z, embedded = to_unit_moment(z), to_unit_moment(embedded)
        style = torch.cat([z, embedded], dim=1)
        for layer in self.mapping:
            style = leaky_relu(layer(style))
        styles = self.scales_and_shifts(style)
        x = self.constant.expand(len(z), -1, -1, -1)
        for index, conv in enumerate(self.convs):
            x = conv(x, *next(styles))
            x = leaky_relu_(torch.addcmul(x, self.noise_scales[index].to(x.dtype), noise[index].to(x.dtype)))
            if index % 2:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = self.to_output(x, *next(styles))
        return x if self.stage == 0 else self._as_features(x)

    def scales_and_shifts(self, style: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Compute what the style (n, style_dim) does in each layer, in one product for all layers.

        Returns:
            For each convolution, the last one to the output included: scale and shift (n, in_channels), times
            the equalised learning rate of the convolution (`StyledConv`).
        """
        layers = [*self.convs, self.to_output]
        linear = [part for layer in layers for part in (layer.to_scale, layer.to_shift)]
        weights = torch.cat([part.weight for part in linear])
        biases = torch.cat([part.bias for part in linear])
        styles = F.linear(style * linear[0].scale, weights, biases)
        of_layers = styles.split([2 * layer.in_channels for layer in layers], dim=1)
        for layer, both in zip(layers, of_layers, strict=True):
            scale, shift = (both * layer.conv.scale).chunk(2, dim=1)
            yield scale, shift

    def _as_features(self, x: Tensor) -> Tensor:
        """Features are what a ReLU has let through, and the pooled ones their means."""
        x = F.adaptive_avg_pool2d(F.relu(x), self.side)
        return x.flatten(1) if self.stage == POOLED else x
