"""Stored images: which ones, and what they are used for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.chain import CPU, Chain, job, settings_with

from genifer.config import registry_of
from genifer.data.batches import load_task_data
from genifer.methods.exemplars import Exemplars, herd
from genifer.training.checkpoints import load_predictor
from genifer.training.untrained import untrained_task


def test_herding_keeps_the_mean() -> None:
    """Each choice is the best one given those before it."""
    features = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    chosen = herd(features, 8).tolist()
    for count in range(1, 9):
        off = {
            row: float((features[[*chosen[: count - 1], row]].mean(0) - features.mean(0)).norm())
            for row in set(range(30)) - set(chosen[: count - 1])
        }
        assert chosen[count - 1] == min(off, key=lambda row: off[row])
    assert sorted(herd(features, 99).tolist()) == list(range(30))


@pytest.fixture
def learner() -> Exemplars:
    settings = settings_with(exemplars={"per_class": 3, "batch_size": 16})
    learner = untrained_task(settings, Exemplars, job("train_exemplars", 1, Path())).learner
    assert isinstance(learner, Exemplars)
    return learner


def test_batches_hold_stored_images(learner: Exemplars) -> None:
    count = len(learner.data.labels) + len(learner.memory["labels"])
    drawn = torch.cat([learner.draw_batch().labels for _ in range(count // 16)])
    assert len(drawn.unique()) == 7
    old = drawn[drawn < learner.data.n_old]
    assert 0 < len(old) <= 4 * 3


@pytest.mark.parametrize("nearest_mean", [True, False])
def test_images_of_every_class_are_stored(tmp_path: Path, nearest_mean: bool) -> None:
    """They are images of the data set, and classify if asked."""
    chain = Chain(tmp_path)
    settings = settings_with(exemplars={"steps": 3, "per_class": 4, "nearest_mean": nearest_mean})
    first = chain.learn_first_task("exemplars", settings, tmp_path / "first")
    chain.classifier = first
    checkpoint = chain.train("exemplars", settings, tmp_path / "later")
    trained, predictor = load_predictor(checkpoint, CPU, registry_of([]))
    data = load_task_data([chain.data(0), chain.data(1)], CPU)
    stored, labels = predictor.memory["images"], predictor.memory["labels"]
    assert torch.bincount(labels).tolist() == [4] * 7
    for image, label in zip(stored, labels, strict=True):
        of_class = data.images[data.labels == label]
        assert (of_class == image).flatten(1).all(1).any()
    images = trained.normalization(stored)
    predictor.classifier.eval()
    with torch.no_grad():
        by_head = predictor.classifier(images)
        logits = predictor.logits(images)
    assert torch.equal(logits, by_head) is not nearest_mean
