"""The generator makes images that depend on latents, noise and label."""

from __future__ import annotations

import pytest
import torch

from genifer.nn.generator import Generator, default_channels


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128, 256])
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


def test_normalised_inputs_count_the_class() -> None:
    """The class takes part in the styles as much as the latent vector does, however many classes there are."""
    torch.manual_seed(0)
    n_classes, dim = 400, 64
    shares = []
    for normalize in (False, True):
        generator = Generator(n_classes, dim, dim, dim, [2, 2], 1, normalize_inputs=normalize)
        entering: list[torch.Tensor] = []
        generator.mapping[0].register_forward_pre_hook(lambda _, given, into=entering: into.append(given[0]))
        labels = torch.randint(n_classes, (50,))
        generator(torch.randn(50, dim), labels, generator.draw_noise(50, torch.Generator()))
        of_z, of_class = entering[0].detach().square().mean(0).split(dim)
        shares.append(float(of_class.mean() / (of_z.mean() + of_class.mean())))
    plain, normalised = shares
    assert plain < 0.01
    assert normalised == pytest.approx(0.5, abs=1e-4)


def test_the_learning_rate_of_the_mapping() -> None:
    """It scales how far a step moves the style, not where the styles start."""
    starts, moves = [], []
    for rate in (0.01, 1.0):
        torch.manual_seed(0)
        generator = Generator(3, 8, 8, 8, [2, 2], 1, mapping_learning_rate=rate)
        given = torch.randn(20, 16)
        layer = generator.mapping[0]
        start = layer(given)
        start.sum().backward()
        with torch.no_grad():
            layer.weight -= 0.1 * layer.weight.grad.sign()
        starts.append(start.detach())
        moves.append(float((layer(given) - start).detach().abs().mean()))
    assert torch.allclose(*starts, atol=1e-5)
    assert moves[1] == pytest.approx(100 * moves[0], rel=1e-2)
