"""Augmentation of the discriminator's images."""

from __future__ import annotations

import pytest
import torch

from genifer.nn.ada import Augmentation, draw_amounts, read_bilinear, read_in_order


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_augmentation_at_probability_zero_changes_nothing(size: int, channels: int) -> None:
    images = torch.randn(8, channels, size, size)
    amounts = draw_amounts(8, size, torch.tensor(0.0), torch.Generator().manual_seed(0))
    assert (Augmentation(size)(images, amounts) - images).abs().max() < 1e-4


def test_grey_images_are_augmented_as_rgb_ones() -> None:
    grey = torch.randn(32, 1, 16, 16)
    amounts = draw_amounts(32, 16, torch.tensor(0.7), torch.Generator().manual_seed(0))
    augment = Augmentation(16)
    as_rgb = augment(grey.expand(-1, 3, -1, -1), amounts).mean(1, keepdim=True)
    assert torch.allclose(augment(grey, amounts), as_rgb, atol=1e-4)


def test_reading_in_order_is_bilinear_reading() -> None:
    """Values and gradients, inside, at the border and outside."""
    images = torch.randn(3, 2, 7, 7)
    position = torch.cat(
        [14 * torch.rand(3, 5, 4, 2) - 4, torch.tensor([0.0, 6.0]).expand(3, 5, 1, 2)], dim=2
    )
    read, gradients = [], []
    for function in (read_bilinear, read_in_order):
        images.requires_grad_().grad = None
        read.append(function(images, position))
        read[-1].square().sum().backward()
        assert images.grad is not None
        gradients.append(images.grad)
    torch.testing.assert_close(*read)
    torch.testing.assert_close(*gradients)
