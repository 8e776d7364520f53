"""The generator makes images that depend on latents, noise and label."""

from __future__ import annotations

import pytest
import torch

from genifer.nn.generator import Generator, default_channels


@pytest.mark.parametrize("size", [8, 16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_generator_makes_images(size: int, channels: int) -> None:
    widths = [max(count // 64, 1) for count in default_channels(size)]
    generator = Generator(5, 8, 4, 8, widths, channels)
    rng = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 4, 4])
    z = torch.randn(3, 8)
    noise = generator.draw_noise(3, rng)
    images = generator(z, labels, noise)
    assert images.shape == (3, channels, size, size)
    assert not torch.equal(images[1], images[2])
    other = generator(z, torch.tensor([1, 4, 4]), noise)
    assert not torch.equal(images[0], other[0])
    assert torch.allclose(images[1:], other[1:], atol=1e-6)


def test_the_styles_of_all_layers_are_those_of_each() -> None:
    generator = Generator(5, 8, 4, 6, [3, 5, 4, 2], 1)
    style = torch.randn(7, 6)
    layers = [*generator.convs, generator.to_output]
    for layer, (scale, shift) in zip(layers, generator.scales_and_shifts(style), strict=True):
        assert torch.allclose(scale, layer.to_scale(style) * layer.conv.scale, atol=1e-6)
        assert torch.allclose(shift, layer.to_shift(style) * layer.conv.scale, atol=1e-6)
