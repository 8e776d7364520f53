"""The classifier's stages, in numbers that need no PyTorch.

Stage 0 is the image, 1 the stem, 2 to 5 the residual groups, 6 the pooled features.
"""

from __future__ import annotations

POOLED = 6
"""Stage of the pooled features."""

PIXELS_PER_POSITION = (1, 1, 1, 2, 4, 8)
"""For stages 0 to 5: pixels of the image, in each direction, per position of the features."""


def generated_side(image_size: int, stage: int) -> int:
    """Side of the map that a generator computes to make features of a stage (0: images).

    It is at least 4: smaller features are averages of it.
    """
    return 4 if stage == POOLED else max(image_size // PIXELS_PER_POSITION[stage], 4)


def channels_needed(image_size: int, stage: int) -> int:
    """Entries of ``generator.channels``: the constant, then two convolutions per resolution from 4 up."""
    return 2 * (generated_side(image_size, stage).bit_length() - 3) + 2
