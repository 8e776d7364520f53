"""The classifier grows with the tasks; its shortcuts have right gradients in every memory format."""

from __future__ import annotations

import copy

import pytest
import torch

from genifer.nn.classifier import BasicBlock, Classifier


def test_growing_keeps_the_logits_of_known_classes() -> None:
    classifier = Classifier("resnet18", 4, 1, 3).eval()
    images = torch.randn(2, 1, 8, 8)
    before = classifier(images)
    classifier.grow(2)
    assert classifier.n_classes == 5
    assert torch.allclose(classifier(images)[:, :3], before, atol=1e-5)


def test_a_head_without_bias_grows() -> None:
    classifier = Classifier("resnet18", 4, 1, 4, head_bias=False)
    classifier.grow(3)
    assert classifier.head.bias is None
    assert classifier(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


def test_imagenets_stem_is_part_of_the_description() -> None:
    """Checkpoints build the network from it; that of a small stem is as it was before there were others."""
    classifier = Classifier("resnet18", 4, 3, 2, stem="imagenet")
    twin = Classifier(**classifier.description, n_classes=2)
    assert twin.features(torch.zeros(2, 3, 64, 64), 1).shape == (2, 4, 16, 16)
    assert set(Classifier("resnet18", 4, 3, 2).description) == {
        "architecture",
        "width",
        "in_channels",
        "head_bias",
    }
    images = torch.randn(2, 3, 32, 32)
    whole = classifier.eval()(images)
    assert torch.allclose(classifier.folded()(images), whole, atol=1e-5)


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
