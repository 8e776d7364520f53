"""Relation-guided: its losses, written out sample by sample, and the refinement of the head."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.chain import job, settings_with

from genifer.methods.rdfcil import Rdfcil, RdfcilSettings
from genifer.nn.losses import angle_distillation
from genifer.training.classifier import ClassifierTraining
from genifer.training.untrained import untrained_task


@pytest.fixture
def training() -> ClassifierTraining:
    """At the second task, after four classes; the last two of five steps refine the head."""
    optimizer = {"name": "adam", "learning_rate": 0.01, "weight_decay": 0.1}
    settings = settings_with(rdfcil={"steps": 5, "batch_size": 6, "refinement": 0.4, "optimizer": optimizer})
    return untrained_task(settings, Rdfcil, job("train_rdfcil", 1, Path()))


def test_weights_follow_the_number_of_classes() -> None:
    """With 6 new classes alpha is 2; with 24 old ones beta is 2."""
    settings = RdfcilSettings(cross_entropy_weight=3, distillation_weight=5, relation_weight=7)
    assert settings.weights(24, 6) == pytest.approx((3 * 1.5 / 2, 5 * 4, 7 * 4))


def test_angles_of_three_samples() -> None:
    rng = torch.Generator().manual_seed(0)
    old, new = torch.randn(5, 3, generator=rng), torch.randn(5, 4, generator=rng)

    def cosine(features: torch.Tensor, i: int, j: int, k: int) -> float:
        one, other = features[i] - features[j], features[k] - features[j]
        length = float(one.norm() * other.norm())
        return float(one @ other) / length if length else 0.0

    triples = list(itertools.product(range(5), repeat=3))
    differences = [abs(cosine(new, *triple) - cosine(old, *triple)) for triple in triples]
    assert angle_distillation(old, new).item() == pytest.approx(np.mean(differences), rel=1e-5)
    # Neither scale nor place nor rotation is an angle.
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=rng)).Q
    assert angle_distillation(old, 3 * old @ rotation + 1).item() == pytest.approx(0, abs=1e-5)


def test_losses_are_those_of_the_paper(training: ClassifierTraining) -> None:
    learner = training.learner
    assert isinstance(learner, Rdfcil)
    learner.classifier.eval()
    batch = learner.draw_batch()
    assert batch.replay is not None
    losses = learner.losses(batch)
    new, inverted = learner.classifier(batch.images), learner.classifier(batch.replay)
    old = learner.teacher(batch.replay)
    cross_entropy = F.cross_entropy(new[:, 4:], batch.labels - 4)
    distillation = (inverted[:, :4] - old).abs().mean()
    relations = angle_distillation(
        learner.networks["map_of_teacher"](learner.teacher.features(batch.images, 6)),
        learner.networks["map_of_classifier"](learner.classifier.features(batch.images, 6)),
    )
    weights = learner.settings.weights(4, 3)
    expected = weights[0] * cross_entropy + weights[1] * distillation + weights[2] * relations
    torch.testing.assert_close(losses["loss"], expected)
    learner.refining = True
    of_new, of_old = F.cross_entropy(new, batch.labels), F.cross_entropy(inverted, old.argmax(1))
    torch.testing.assert_close(learner.losses(batch)["loss"], (3 * of_new + 4 * of_old) / 7)


def test_the_refinement_changes_the_head_alone(training: ClassifierTraining) -> None:
    learner = training.learner
    everything = {
        **{f"classifier.{name}": tensor for name, tensor in learner.classifier.state_dict().items()},
        **{name: network.weight for name, network in learner.networks.items()},
    }
    for step in range(5):
        before = {name: tensor.clone() for name, tensor in everything.items()}
        training.step()
        changed = {name for name, tensor in everything.items() if not torch.equal(tensor, before[name])}
        if step < 3:
            assert changed == set(everything)
        else:
            assert changed == {"classifier.head.weight", "classifier.head.bias"}
