"""Elastic weight consolidation, against gradients of one image after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.chain import job, settings_with

from genifer.methods.ewc import Ewc
from genifer.methods.method import Batch
from genifer.training.untrained import untrained_task


@pytest.fixture
def learner() -> Ewc:
    """At the second task, with a memory of the first."""
    settings = settings_with(ewc={"strength": 3.0, "decay": 0.5, "importance_images": 20})
    learner = untrained_task(settings, Ewc, job("train_ewc", 1, Path())).learner
    assert isinstance(learner, Ewc)
    return learner


def test_importances_are_those_of_single_images(learner: Ewc) -> None:
    learner.classifier.eval()
    state = learner.rng.get_state()
    memory = learner.finish()
    rng = learner.rng.set_state(state)
    chosen = torch.randperm(len(learner.data.labels), generator=rng, device=rng.device)[:20]
    zero = torch.tensor(0.0, device=rng.device)
    expected = dict.fromkeys(dict(learner.classifier.named_parameters()), zero)
    for image, label in zip(learner.data.images[chosen], learner.data.labels[chosen], strict=True):
        learner.classifier.zero_grad()
        logits = learner.classifier(learner.normalize(image[None]))
        torch.nn.functional.cross_entropy(logits, label[None]).backward()
        for name, weight in learner.classifier.named_parameters():
            assert weight.grad is not None
            expected[name] = expected[name] + weight.grad.square() / 20
    for name, weight in learner.classifier.named_parameters():
        before = learner.memory[f"importance.{name}"]
        expected[name][: len(before)] += 0.5 * before
        torch.testing.assert_close(memory[f"importance.{name}"], expected[name], rtol=1e-3, atol=1e-6)
        assert torch.equal(memory[f"old.{name}"], weight)


def test_the_penalty_holds_important_weights(learner: Ewc) -> None:
    """Half of the strength times importance times squared distance; new classes' rows cost nothing."""
    batch = Batch(learner.normalize(learner.data.images[:4]), learner.data.labels[:4])
    for name, weight in learner.classifier.named_parameters():
        learner.memory[f"old.{name}"] = weight.detach()[: len(learner.memory[f"old.{name}"])].clone()
        learner.memory[f"importance.{name}"] = torch.ones_like(learner.memory[f"old.{name}"])
    with torch.no_grad():
        learner.classifier.head.bias[2] += 2  # an old class
        learner.classifier.head.bias[5] += 7  # a new one
    losses = learner.losses(batch)
    assert losses["penalty"].item() == pytest.approx(4)
    without = super(Ewc, learner).losses(batch)["loss"]
    assert losses["loss"].item() == pytest.approx(without.item() + 3 / 2 * 4)
