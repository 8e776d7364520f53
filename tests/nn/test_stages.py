"""Every stage of every classifier can be matched, and generated, at every image size."""

from __future__ import annotations

import pytest
import torch

from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator, default_channels
from genifer.nn.stages import channels_needed, generated_side

SIZES = (8, 16, 32, 64, 128, 256)


@pytest.mark.parametrize("stem", ["small", "imagenet"])
@pytest.mark.parametrize(
    ("size", "architecture"),
    [(size, "resnet18") for size in SIZES] + [(32, "resnet34"), (8, "resnet50"), (64, "resnet50")],
)
def test_every_stage_can_be_matched(size: int, architecture: str, stem: str) -> None:
    classifier = Classifier(architecture, 4, 3, 5, stem=stem).eval()
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
        widths = default_channels(generated_side(size, stage, stem))
        assert len(widths) == channels_needed(size, stage, stem)
        generator = Generator(5, 8, 4, 8, [2] * len(widths), channels, stage, side)
        noise = generator.draw_noise(4, torch.Generator().manual_seed(0))
        made = generator(torch.randn(4, 8), torch.tensor([0, 1, 2, 4]), noise)
        assert made.shape == features.shape
        assert stage == 0 or made.min() >= 0


@pytest.mark.parametrize("size", SIZES)
def test_a_sample_goes_through_classifier_and_discriminator(size: int) -> None:
    """With the default number of resolutions, and gradients back to the latent vectors."""
    torch.manual_seed(0)
    classifier = Classifier("resnet18", 4, 3, 5).eval()
    channels = [max(count // 128, 1) for count in default_channels(size)]
    generator = Generator(5, 8, 4, 8, channels, 3)
    z, labels = torch.randn(2, 8, requires_grad=True), torch.tensor([0, 4])
    images = generator(z, labels, generator.draw_noise(2, torch.Generator().manual_seed(0)))
    assert images.shape == (2, 3, size, size)
    matched = classifier.feature_shape(4, size)
    discriminator = Discriminator(5, 4, *matched, 2)
    logits = discriminator(classifier.features(images, 4), labels)
    (gradient,) = torch.autograd.grad(logits.sum(), z)
    assert logits.shape == (2,)
    assert gradient.abs().sum() > 0
