"""Layers with equalised learning rate (Karras et al., 2018, section 4.1), shared by both GAN halves.

Weights are drawn from a standard normal distribution and scaled when used, so that
Adam's step is as large, relative to the weights, in every layer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


def leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def leaky_relu_(x: Tensor) -> Tensor:
    """The same in place."""
    return F.leaky_relu(x, SLOPE, inplace=True)


def to_unit_moment(x: Tensor) -> Tensor:
    """Scale each row of x (n, dim) to a mean square of 1 (Karras et al., 2018, section 4.2)."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class EqualizedLinear(nn.Module):
    """x @ (weight * lr_mul / sqrt(fan_in)).T + bias * lr_mul."""

    def __init__(
        self, in_features: int, out_features: int, *, lr_mul: float = 1.0, initial_bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), initial_bias))
        self.scale = lr_mul / math.sqrt(in_features)
        self.lr_mul = lr_mul

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias if self.lr_mul == 1 else self.bias * self.lr_mul
        return F.linear(x * self.scale, self.weight, bias)


class EqualizedConv2d(nn.Module):
    """3 x 3 convolution with weight * sqrt(2 / fan_in), size kept."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = math.sqrt(2 / (9 * in_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=1)


class ClassEmbedding(nn.Module):
    """An equalised linear map of the one-hot label, computed as a look-up."""

    def __init__(self, n_classes: int, dim: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, n_classes))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.scale = 1 / math.sqrt(n_classes)

    def forward(self, labels: Tensor) -> Tensor:
        """(n,) labels to (n, dim)."""
        rows = F.embedding(labels, self.weight.t()) * self.scale
        return rows if self.bias is None else rows + self.bias
