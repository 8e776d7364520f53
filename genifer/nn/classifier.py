"""The classifier: a ResNet with access to the features of every stage, and a head that grows.

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
    """A strided 1 x 1 convolution that selects the pixels first and then convolves without a stride.

    In channels-last format, with fewer channels than its block size, oneDNN's strided convolution writes
    beyond its memory in the backward pass, which gives wrong gradients or a crash
    (github.com/uxlfoundation/oneDNN/issues/6035).
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
    """A ResNet divided into stages, with one linear head for all classes so far.

    Args:
        architecture: a key of `ARCHITECTURES`.
        width: number of channels after the stem.
        in_channels: number of channels of the image.
        n_classes: initial number of classes of the head.
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
        if stem != SMALL:  # so that checkpoints from before there were other stems have the same bytes
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
        # The stem keeps PyTorch's initialisation, as in the published code, which put it in front of an
        # initialised ResNet.
        for module in self.stages[1:].modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def n_classes(self) -> int:
        """Current number of classes of the head."""
        return self.head.out_features

    def features(self, x: Tensor, stage: int, *, start: int = 0) -> Tensor:
        """Compute the features of ``stage`` from features of stage ``start`` (by default, the image).

        Returns:
            (n, channels, height, width); at stage 6, (n, channels).
        """
        for module in self.stages[start:stage]:
            x = module(x)
        return x

    def forward(self, x: Tensor, *, start: int = 0) -> Tensor:
        """Compute the logits (n, classes so far) from features of stage ``start`` (by default, the image)."""
        return self.head(self.features(x, POOLED, start=start))

    def features_and_logits(self, x: Tensor, stage: int, *, start: int = 0) -> tuple[Tensor, Tensor]:
        """Compute the features of a stage and the logits in one pass, from features of stage ``start``."""
        features = self.features(x, stage, start=start)
        return features, self(features, start=stage)

    def folded(self) -> Classifier:
        """Return a frozen copy in evaluation mode, with batch norms folded into the preceding convolutions.

        This saves a pass over memory per batch norm.
        """
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        for module in list(twin.modules()):
            for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1")):
                conv_layer, norm_layer = module._modules.get(conv), module._modules.get(norm)
                if isinstance(conv_layer, nn.Conv2d) and isinstance(norm_layer, nn.BatchNorm2d):
                    module._modules[conv] = fuse_conv_bn_eval(conv_layer, norm_layer)
                    module._modules[norm] = nn.Identity()
        return twin

    def freeze_stages(self, count: int) -> None:
        """Freeze the weights of the first stages: 1 is the stem, 2 to 5 add the groups.

        As in the published code, their batch norm still normalises by the batch's statistics.
        """
        self.stages[:count].requires_grad_(False)

    def feature_shape(self, stage: int, image_size: int) -> tuple[int, int]:
        """Return the channels and side of a stage's features, for images with this side."""
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
        """Keep only the first ``count`` classes of the head."""
        old = self.head
        bias = self.description["head_bias"]
        self.head = nn.Linear(old.in_features, count, bias).to(old.weight.device)
        self.head.weight.copy_(old.weight[:count])
        if bias:
            self.head.bias.copy_(old.bias[:count])

    @torch.no_grad()
    def grow(self, n_new: int) -> None:
        """Add new classes to the head; the rows of known classes do not change."""
        old = self.head
        bias = self.description["head_bias"]
        self.head = nn.Linear(old.in_features, old.out_features + n_new, bias).to(old.weight.device)
        self.head.weight[: old.out_features] = old.weight
        if bias:
            self.head.bias[: old.out_features] = old.bias
