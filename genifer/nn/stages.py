"""The classifier's stems and stages in numbers, for code that must not import PyTorch.

Stage 0 is the image, 1 the stem, 2 to 5 the residual groups, 6 the pooled features.
"""

from __future__ import annotations

POOLED = 6
"""Stage of the pooled features."""

SMALL, IMAGENET = "small", "imagenet"
"""The stems: a 3 x 3 convolution; ImageNet's 7 x 7 convolution and pooling, both with stride 2."""

STRIDES = {SMALL: 1, IMAGENET: 4}
"""Pixels of the image, in each direction, per position of a stem's features."""


def pixels_per_position(stage: int, stem: str = SMALL) -> int:
    """Return the pixels of the image, in each direction, per position of a stage's features (0 to 5)."""
    return STRIDES[stem] * 2 ** max(stage - 2, 0) if stage else 1


def generated_side(image_size: int, stage: int, stem: str = SMALL) -> int:
    """Return the side of the generator's last map, for features of a stage (0: images).

    It is at least 4; features with a smaller side are averages over this map.
    """
    return 4 if stage == POOLED else max(image_size // pixels_per_position(stage, stem), 4)


def channels_needed(image_size: int, stage: int, stem: str = SMALL) -> int:
    """Return the length of ``generator.channels``: the constant, then two layers per resolution from 4 up."""
    return 2 * (generated_side(image_size, stage, stem).bit_length() - 3) + 2
