"""Rotations as classes of their own: while a training lasts, and not after."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.chain import CPU, Chain, job, settings_with

from genifer.methods.prototype_augmentation import Pass
from genifer.methods.rotation import rotate
from genifer.training.checkpoints import load_classifier
from genifer.training.untrained import untrained_task


def test_rotations_follow_all_other_classes() -> None:
    images = torch.arange(2 * 9.0).view(2, 1, 3, 3)
    rotated, labels = rotate(images, torch.tensor([4, 6]), 3)
    assert labels.tolist() == [4, 6, 7, 9, 10, 12, 13, 15]
    for turns in range(4):
        assert torch.equal(rotated[2 * turns : 2 * turns + 2], images.rot90(turns, (2, 3)))


def test_the_first_task_learns_rotations_and_drops_them(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    plain = load_classifier(chain.classifier, CPU).network
    settings = settings_with(pretrain_classifier={"rotations": True})
    path = chain.pretrain_classifier(settings, tmp_path / "rotated")
    rotated = load_classifier(path, CPU).network
    assert rotated.n_classes == plain.n_classes == 4
    assert not torch.equal(rotated.head.weight, plain.head.weight)


@pytest.fixture
def learner() -> Pass:
    learner = untrained_task(
        settings_with(**{"pass": {"batch_size": 4000}}), Pass, job("train_pass", 1, Path())
    ).learner
    assert isinstance(learner, Pass)
    return learner


def test_prototypes_have_the_spread_of_the_first_task(learner: Pass) -> None:
    learner.memory["radius"] = torch.tensor(0.3)
    batch = learner.draw_batch()
    assert batch.replay is not None
    assert batch.replay_labels is not None
    assert batch.replay_labels.unique().tolist() == [0, 1, 2, 3]
    off = batch.replay - learner.memory["means"][batch.replay_labels]
    assert abs(off.mean().item()) < 0.01
    assert off.std().item() == pytest.approx(0.3, rel=0.05)


def test_losses_of_prototype_augmentation(learner: Pass) -> None:
    """Twelve outputs for three new classes, and features that stay where the teacher has them."""
    assert learner.classifier.n_classes == 4 + 4 * 3
    batch = learner.draw_batch()
    assert batch.replay_labels is not None
    losses = learner.losses(batch)
    expected = losses["cross_entropy"] + 10 * losses["prototypes"] + 10 * losses["feature_distillation"]
    torch.testing.assert_close(losses["loss"], expected)
    assert batch.replay is not None
    of_prototypes = torch.nn.functional.cross_entropy(
        learner.classifier.head(batch.replay), batch.replay_labels
    )
    torch.testing.assert_close(losses["prototypes"], of_prototypes)


def test_prototypes_of_all_classes_are_kept(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    settings = settings_with(**{"pass": {"steps": 3}})
    chain.classifier = chain.learn_first_task("pass", settings, tmp_path / "first")
    first = load_classifier(chain.classifier, CPU)
    later = load_classifier(chain.train("pass", settings, tmp_path / "later"), CPU)
    assert later.network.n_classes == 7
    assert later.memory["means"].shape == (7, later.network.head.in_features)
    assert torch.equal(later.memory["means"][:4], first.memory["means"])
    assert later.memory["radius"] == first.memory["radius"] > 0
