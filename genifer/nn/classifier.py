"""The classifier: a ResNet for small or larger images, readable at every stage, whose head grows.

Stage 0 is the image, 1 the stem, 2 to 5 the four residual groups (after their last
ReLU), 6 the pooled features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from genifer.nn.layers import BatchNorm2d
from genifer.nn.stages import IMAGENET, POOLED, SMALL, pixels_per_position


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al., 2016)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        return F.relu_(self.bn2(self.conv2(y)).add_(self.shortcut(x)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions and a shortcut (He et al., 2016)."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = F.relu_(self.bn2(self.conv2(y)))
        return F.relu_(self.bn3(self.conv3(y)).add_(self.shortcut(x)))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    narrow = stride > 1 and in_channels < ONEDNN_BLOCK
    kind = SubsampledConv2d if narrow else nn.Conv2d
    return nn.Sequential(kind(in_channels, out_channels, 1, stride, bias=False), BatchNorm2d(out_channels))


ONEDNN_BLOCK = 16


class SubsampledConv2d(nn.Conv2d):
    """A 1 x 1 convolution with a stride, on pixels that are picked at this stride beforehand.

    For fewer channels than its block oneDNN's own way writes past its memory in the backward pass, where
    channels come last: wrong gradients, or a crash (github.com/uxlfoundation/oneDNN/issues/6035).
    """

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.stride
        return F.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias)


ARCHITECTURES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


def _small_stem(in_channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, 1, 1, bias=False), BatchNorm2d(width), nn.ReLU(inplace=True)
    )


def _imagenet_stem(in_channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 7, 2, 3, bias=False),
        BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    )


STEMS: dict[str, Callable[[int, int], nn.Sequential]] = {SMALL: _small_stem, IMAGENET: _imagenet_stem}


class Classifier(nn.Module):
    """A ResNet by stages with one linear head for all classes so far.

    Args:
        architecture: a key of `ARCHITECTURES`.
        width: channels after the stem.
        in_channels: channels of the image.
        n_classes: classes that the head starts with.
        head_bias: whether the head has a bias.
        stem: a key of `STEMS`.
    """

    def __init__(
        self,
        architecture: str,
        width: int,
        in_channels: int,
        n_classes: int,
        head_bias: bool = True,
        stem: str = SMALL,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.description: dict[str, Any] = {
            "architecture": architecture,
            "width": width,
            "in_channels": in_channels,
            "head_bias": head_bias,
        }
        if stem != SMALL:  # checkpoints with the small one are the same bytes as before there were others
            self.description["stem"] = stem
        block, depths = ARCHITECTURES[architecture]
        stages: list[nn.Module] = [STEMS[stem](in_channels, width)]
        channels = width
        for group, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if group > 0 and index == 0 else 1
                blocks.append(block(channels, width * 2**group, stride))
                channels = width * 2**group * block.expansion
            stages.append(nn.Sequential(*blocks))
        stages.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(channels, n_classes, head_bias)
        # The stem keeps PyTorch's initialisation: the published one was put before a ready-made ResNet.
        for module in self.stages[1:].modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def n_classes(self) -> int:
        """Classes that the head knows now."""
        return self.head.out_features

    def features(self, x: Tensor, stage: int, *, start: int = 0) -> Tensor:
        """Features of ``stage``, from an input that is at stage ``start`` (the image).

        Returns:
            (n, channels, height, width); at stage 6 (n, channels).
        """
        for module in self.stages[start:stage]:
            x = module(x)
        return x

    def forward(self, x: Tensor, *, start: int = 0) -> Tensor:
        """(n, classes so far) logits."""
        return self.head(self.features(x, POOLED, start=start))

    def features_and_logits(self, x: Tensor, stage: int, *, start: int = 0) -> tuple[Tensor, Tensor]:
        """Features of a stage and the logits, in one pass, from an input that is at stage ``start``."""
        features = self.features(x, stage, start=start)
        return features, self(features, start=stage)

    def folded(self) -> Classifier:
        """A frozen copy in evaluation mode, whose batch norms are part of the convolutions before them.

        Then they are a scale and a shift of each channel, and one pass over memory less.
        """
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        for module in list(twin.modules()):
            for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1")):
                of_conv, of_norm = module._modules.get(conv), module._modules.get(norm)
                if isinstance(of_conv, nn.Conv2d) and isinstance(of_norm, nn.BatchNorm2d):
                    module._modules[conv] = fuse_conv_bn_eval(of_conv, of_norm)
                    module._modules[norm] = nn.Identity()
        return twin

    def freeze_stages(self, count: int) -> None:
        """Keep the weights of the first stages: 1 is the stem, 2 to 5 the groups (as in the published code,
        their batch norm goes on normalising with the batch's statistics)."""
        self.stages[:count].requires_grad_(False)

    def feature_shape(self, stage: int, image_size: int) -> tuple[int, int]:
        """Channels and side of a stage's features, for images of this size."""
        width: int = self.description["width"]
        if stage == 0:
            return self.description["in_channels"], image_size
        side = 1 if stage == POOLED else -(-image_size // pixels_per_position(stage, self.stem))  # rounded up
        if stage == 1:
            return width, side
        group = min(stage, POOLED - 1) - 2
        return width * 2**group * ARCHITECTURES[self.description["architecture"]][0].expansion, side

    @torch.no_grad()
    def keep_classes(self, count: int) -> None:
        """Drop all classes from the head but the first ``count``."""
        old = self.head
        bias = self.description["head_bias"]
        self.head = nn.Linear(old.in_features, count, bias).to(old.weight.device)
        self.head.weight.copy_(old.weight[:count])
        if bias:
            self.head.bias.copy_(old.bias[:count])

    @torch.no_grad()
    def grow(self, n_new: int) -> None:
        """Add new classes to the head; rows of the known classes stay as they are."""
        old = self.head
        bias = self.description["head_bias"]
        self.head = nn.Linear(old.in_features, old.out_features + n_new, bias).to(old.weight.device)
        self.head.weight[: old.out_features] = old.weight
        if bias:
            self.head.bias[: old.out_features] = old.bias
