"""The generator: a style-based network from latent vector and class to an image (Karras et al., 2019).

In direct mode it generates the features of a stage of the classifier instead.
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
"""Channels of the constant and after each convolution, for images with a side of 32 pixels."""
LARGER_CHANNELS = (32, 32, 16, 16, 8, 8)
"""Further channels for images with a side of 64, 128 and 256 pixels, which the paper does not use."""


def default_channels(side: int) -> list[int]:
    """Return the channels for a last map of this side: the paper's, and fewer beyond its 32 pixels."""
    return list((PAPER_CHANNELS + LARGER_CHANNELS)[: 2 * (side.bit_length() - 3) + 2])


class StyledConv(nn.Module):
    """Scales and shifts each channel by the style, then convolves.

    The generator computes the scales and shifts of all its layers in one matrix product.
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
            scale, shift: (n, in_channels), already multiplied by the convolution's equalised learning rate;
                its weights are therefore used unscaled.
        """
        x = torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])
        return F.conv2d(x, self.conv.weight, self.conv.bias, padding=1)


class Generator(nn.Module):
    """Generates images in the classifier's input space (normalised, not clamped), or features of a stage.

    Args:
        n_classes: number of classes of the whole scenario.
        latent_dim: length of the latent vector.
        embedding_dim: length of the class embedding.
        style_dim: length of the style vector.
        channels: channels of the learned 4 x 4 constant and after each convolution: two per resolution,
            from 4 up.
        out_channels: channels of the images or features.
        stage: stage of the classifier whose features it generates; 0 for images.
        side: side of these features, if it is smaller than that of the last map.
        normalize_inputs: whether to normalise latent vector and class embedding to a mean square of 1 before
            the mapping network (Karras et al., 2020, for conditional StyleGAN2). Otherwise that of the
            embedding, an equalised map of a one-hot label, is 1 / n_classes, so the class hardly affects the
            styles at first.
        mapping_learning_rate: learning rate of the mapping network, relative to that of the other layers
            (Karras et al., 2019, appendix C).
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
        """Draw a standard normal noise map (n, 1, side, side) for each convolution."""
        sides = [4 * 2 ** (index // 2) for index in range(len(self.convs))]
        drawn = torch.randn(sum(n * side**2 for side in sides), generator=rng, device=self.constant.device)
        maps = drawn.split([n * side**2 for side in sides])
        return [flat.view(n, 1, side, side) for flat, side in zip(maps, sides, strict=True)]

    def forward(self, z: Tensor, labels: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Generate samples from z (n, latent_dim), labels (n,) and the noise of `draw_noise`.

        Returns:
            Images or features (n, out_channels, side, side); pooled features (n, out_channels).
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
        """Compute the scales and shifts of all layers from the style (n, style_dim), in one matrix product.

        Yields:
            Scale and shift (n, in_channels) of each convolution, including the output's, multiplied by its
            equalised learning rate (`StyledConv`).
        """
        layers = [*self.convs, self.to_output]
        linear = [part for layer in layers for part in (layer.to_scale, layer.to_shift)]
        weights = torch.cat([part.weight for part in linear])
        biases = torch.cat([part.bias for part in linear])
        styles = F.linear(style * linear[0].scale, weights, biases)
        by_layer = styles.split([2 * layer.in_channels for layer in layers], dim=1)
        for layer, both in zip(layers, by_layer, strict=True):
            scale, shift = (both * layer.conv.scale).chunk(2, dim=1)
            yield scale, shift

    def _as_features(self, x: Tensor) -> Tensor:
        """Turn maps into features, which in the classifier are averages of the output of a ReLU."""
        x = F.adaptive_avg_pool2d(F.relu(x), self.side)
        return x.flatten(1) if self.stage == POOLED else x
