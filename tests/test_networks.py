"""Shapes of the networks at every stage and image size, and what growing and grouping mean."""

from __future__ import annotations

import copy

import pytest
import torch

from genifer.config import generated_side
from genifer.nn.ada import augment, draw_amounts
from genifer.nn.classifier import BasicBlock, Classifier
from genifer.nn.discriminator import Discriminator, minibatch_deviation
from genifer.nn.generator import Generator, default_channels

SIZES = (8, 16, 32, 64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50"])
def test_every_stage_can_be_matched(size: int, architecture: str) -> None:
    classifier = Classifier(architecture, 4, 3, 5).eval()
    images = torch.randn(4, 3, size, size)
    whole = classifier(images)
    assert whole.shape == (4, 5)
    for stage in range(7):
        channels, side = classifier.feature_shape(stage, size)
        features, logits = classifier.features_and_logits(images, stage)
        assert features.shape == ((4, channels) if stage == 6 else (4, channels, side, side))
        assert torch.allclose(logits, whole, atol=1e-5)
        discriminator = Discriminator(5, stage, channels, side, 4)
        assert discriminator(features, torch.tensor([0, 1, 2, 4])).shape == (4,)
        widths = default_channels(generated_side(size, stage))
        generator = Generator(5, 8, 4, 8, [8] * len(widths), channels, stage, side)
        noise = generator.draw_noise(4, torch.Generator().manual_seed(0))
        made = generator(torch.randn(4, 8), torch.tensor([0, 1, 2, 4]), noise)
        assert made.shape == features.shape
        assert stage == 0 or made.min() >= 0


@pytest.mark.parametrize("width", [4, 8, 16])
def test_gradients_of_shortcuts_are_the_same_with_channels_last(width: int) -> None:
    shortcut = BasicBlock(width, 2 * width, 2).shortcut[0]
    images, upstream = torch.randn(8, width, 64, 64), torch.randn(8, 2 * width, 32, 32)
    gradients = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        twin = copy.deepcopy(shortcut).to(memory_format=memory_format)
        seen = images.clone(memory_format=memory_format).requires_grad_()
        twin(seen).backward(upstream.contiguous(memory_format=memory_format))
        gradients.append((twin.weight.grad, seen.grad))
    for plain, channels_last in zip(*gradients, strict=True):
        assert (plain - channels_last).norm() < 1e-4 * plain.norm()


@pytest.mark.parametrize("size", SIZES)
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


def test_growing_keeps_the_logits_of_known_classes() -> None:
    classifier = Classifier("resnet18", 4, 1, 3).eval()
    images = torch.randn(2, 1, 8, 8)
    before = classifier(images)
    classifier.grow(2)
    assert classifier.n_classes == 5
    assert torch.allclose(classifier(images)[:, :3], before, atol=1e-5)


def test_samples_of_a_group_share_their_deviation() -> None:
    x = torch.randn(64, 2, 3, 3)
    x[1::2] *= 10
    deviation = minibatch_deviation(x)
    assert deviation.shape == (64, 1, 3, 3)
    assert deviation[::2].unique().numel() == deviation[1::2].unique().numel() == 1
    assert deviation[1, 0, 0, 0] > 5 * deviation[0, 0, 0, 0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_augmentation_at_probability_zero_changes_nothing(size: int, channels: int) -> None:
    images = torch.randn(8, channels, size, size)
    amounts = draw_amounts(8, size, torch.tensor(0.0), torch.Generator().manual_seed(0))
    assert (augment(images, amounts) - images).abs().max() < 1e-4


def test_grey_images_are_augmented_as_rgb_ones() -> None:
    grey = torch.randn(32, 1, 16, 16)
    amounts = draw_amounts(32, 16, torch.tensor(0.7), torch.Generator().manual_seed(0))
    as_rgb = augment(grey.expand(-1, 3, -1, -1), amounts).mean(1, keepdim=True)
    assert torch.allclose(augment(grey, amounts), as_rgb, atol=1e-4)
