"""Every stage of every classifier can be matched, and generated, at every image size."""

from __future__ import annotations

import pytest
import torch

from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator, default_channels
from genifer.nn.stages import channels_needed, generated_side


@pytest.mark.parametrize("size", [8, 16, 32, 64])
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
        assert len(widths) == channels_needed(size, stage)
        generator = Generator(5, 8, 4, 8, [8] * len(widths), channels, stage, side)
        noise = generator.draw_noise(4, torch.Generator().manual_seed(0))
        made = generator(torch.randn(4, 8), torch.tensor([0, 1, 2, 4]), noise)
        assert made.shape == features.shape
        assert stage == 0 or made.min() >= 0
