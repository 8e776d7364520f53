"""Layers with equalised learning rate for the GAN (Karras et al., 2018, section 4.1), and batch norm.

Weights with equalised learning rate are drawn from a standard normal distribution and scaled at run time, so
that Adam's steps have the same size, relative to the weights, in every layer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genifer.runtime import parallel

SLOPE = 0.2


def leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def leaky_relu_(x: Tensor) -> Tensor:
    """Leaky ReLU in place."""
    return F.leaky_relu(x, SLOPE, inplace=True)


def to_unit_moment(x: Tensor) -> Tensor:
    """Scale each row of x (n, dim) to a mean square of 1 (Karras et al., 2018, section 4.2)."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class EqualizedLinear(nn.Module):
    """Linear layer: x @ (weight * lr_mul / sqrt(fan_in)).T + bias * lr_mul."""

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
    """3 x 3 convolution with weight * sqrt(2 / fan_in), which keeps the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = math.sqrt(2 / (9 * in_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=1)


class ClassEmbedding(nn.Module):
    """An equalised linear map of the one-hot label, computed by a table look-up."""

    def __init__(self, n_classes: int, dim: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, n_classes))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.scale = 1 / math.sqrt(n_classes)

    def forward(self, labels: Tensor) -> Tensor:
        """Map labels (n,) to embeddings (n, dim)."""
        rows = F.embedding(labels, self.weight.t()) * self.scale
        return rows if self.bias is None else rows + self.bias


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm with the statistics of the whole batch, even if several processes share it.

    PyTorch's SyncBatchNorm does the same, but only on GPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        if parallel.size() == 1 or not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        wide = x.float()
        own_statistics = torch.stack([wide.mean((0, 2, 3)), wide.var((0, 2, 3), unbiased=False)])
        means, variances = parallel.gathered(own_statistics[None]).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        with torch.no_grad():
            count = parallel.size() * x.numel() / x.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], wide, scale[:, None, None]).to(x.dtype)
