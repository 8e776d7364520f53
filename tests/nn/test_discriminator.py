"""The minibatch standard deviation of the discriminator."""

from __future__ import annotations

import torch

from genifer.nn.discriminator import Discriminator, minibatch_deviation


def test_samples_of_a_group_share_their_deviation() -> None:
    x = torch.randn(64, 2, 3, 3)
    x[1::2] *= 10
    deviation = minibatch_deviation(x)
    assert deviation.shape == (64, 1, 3, 3)
    assert deviation[::2].unique().numel() == deviation[1::2].unique().numel() == 1
    assert deviation[1, 0, 0, 0] > 5 * deviation[0, 0, 0, 0]


def test_parts_of_a_batch_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(5, 4, 6, 4, 4)
    real, fake = torch.randn(64, 6, 4, 4), 3 * torch.randn(64, 6, 4, 4)
    labels = torch.arange(64) % 5
    apart = torch.cat([discriminator(real, labels), discriminator(fake, labels)])
    together = discriminator(torch.cat([real, fake]), labels.repeat(2), parts=2)
    assert torch.allclose(together, apart, atol=1e-5)
    assert not torch.allclose(discriminator(torch.cat([real, fake]), labels.repeat(2)), apart, atol=1e-4)
