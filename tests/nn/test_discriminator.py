"""The minibatch standard deviation of the discriminator."""

from __future__ import annotations

import torch

from genifer.nn.discriminator import minibatch_deviation


def test_samples_of_a_group_share_their_deviation() -> None:
    x = torch.randn(64, 2, 3, 3)
    x[1::2] *= 10
    deviation = minibatch_deviation(x)
    assert deviation.shape == (64, 1, 3, 3)
    assert deviation[::2].unique().numel() == deviation[1::2].unique().numel() == 1
    assert deviation[1, 0, 0, 0] > 5 * deviation[0, 0, 0, 0]
