"""The discriminator, which tells whether features belong to a real image of a class.

Following the paper's idea, its input is features of the classifier; it gets images only at matching stage 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genifer.nn.layers import ClassEmbedding, EqualizedConv2d, EqualizedLinear, leaky_relu_
from genifer.runtime import parallel

GROUP = 32
"""Maximum number of samples over which the minibatch standard deviation is computed."""

POOL = 0
LAYERS_BY_STAGE: dict[int, tuple[int, ...]] = {
    0: (2, 2, POOL, 4, 4, POOL, 8, 8, POOL, 8, POOL),
    1: (1, POOL, 2, 2, POOL, 4, 4, POOL, 8, 8, POOL),
    2: (1, POOL, 2, 2, POOL, 4, 4, POOL, 8, 8, POOL),
    3: (2, POOL, 4, 4, POOL, 8, 8, POOL),
    4: (4, 4, POOL, 8, 8, POOL),
    5: (8, 8, POOL),
    6: (),
}
"""First layers by matching stage: convolutions (channels as a multiple of the width) and poolings.

Stages 0, 3 and 4 are as published; the others continue their pattern.
"""


class Discriminator(nn.Module):
    """Conditional projection discriminator (Miyato and Koyama, 2018) on features of one stage.

    Args:
        n_classes: number of classes of the whole scenario.
        stage: the matching stage, 0 to 6.
        in_channels: channels of the stage's features.
        side: side of the stage's features; pooling stops at 2 x 2.
        width: the layers have 1 to 8 times as many channels.
    """

    def __init__(self, n_classes: int, stage: int, in_channels: int, side: int, width: int) -> None:
        super().__init__()
        self.description: dict[str, Any] = {
            "n_classes": n_classes,
            "stage": stage,
            "in_channels": in_channels,
            "side": side,
            "width": width,
        }
        convs: list[EqualizedConv2d] = []
        self.pool_after: list[bool] = []
        channels = in_channels
        for multiple in LAYERS_BY_STAGE[stage]:
            if multiple == POOL:
                if side > 2:
                    self.pool_after[-1] = True
                    side //= 2
            else:
                convs.append(EqualizedConv2d(channels, multiple * width))
                self.pool_after.append(False)
                channels = multiple * width
        self.convs = nn.ModuleList(convs)
        self.last_conv = EqualizedConv2d(channels + 1, 8 * width)
        self.dense = EqualizedLinear(8 * width * side * side, 8 * width)
        self.to_embedding = EqualizedLinear(8 * width, 2 * width)
        self.class_embedding = ClassEmbedding(n_classes, 2 * width, bias=False)

    def forward(self, features: Tensor, labels: Tensor, parts: int = 1) -> Tensor:
        """Compute logits from features (n, channels[, side, side]) of samples with labels (n,).

        Args:
            parts: number of equal parts of the batch, such as real and generated samples, for which the
                minibatch deviation is computed separately.

        Returns:
            Logits (n,), above zero for real.
        """
        x = features if features.dim() == 4 else features[:, :, None, None]
        for conv, pool in zip(self.convs, self.pool_after, strict=True):
            x = leaky_relu_(conv(x))
            if pool:
                x = F.avg_pool2d(x, 2)
        x = torch.cat([x, minibatch_deviation(x, parts)], dim=1)
        x = leaky_relu_(self.last_conv(x)).flatten(1)
        x = self.to_embedding(leaky_relu_(self.dense(x)))
        projection = self.class_embedding(labels)
        return (x * projection).sum(1) / math.sqrt(x.shape[1])


def minibatch_deviation(x: Tensor, parts: int = 1) -> Tensor:
    """Return a channel with the deviation among the samples of a group (Karras et al., 2018, section 3).

    Sample i of the n samples in a part is in group i mod (n / G), with G = min(32, n). Groups are formed
    from the whole batch, even if several processes share it.

    Args:
        x: (parts * n, channels, height, width), with n a multiple of G.

    Returns:
        (parts * n, 1, height, width), constant within a group.
    """
    total, _, height, width = x.shape
    whole = parallel.gathered(x.float().unflatten(0, (parts, -1)), dim=1)
    n = whole.shape[1]
    size = min(GROUP, n)
    groups = whole.unflatten(1, (size, n // size))
    deviation = torch.sqrt(groups.var(dim=1, unbiased=False) + 1e-8).mean(dim=(2, 3, 4))
    per_sample = deviation.to(x.dtype)[:, None].expand(-1, size, -1).reshape(parts, n)
    per_sample = parallel.own(per_sample.t()).t().reshape(total, 1, 1, 1)
    return per_sample.expand(-1, -1, height, width)
