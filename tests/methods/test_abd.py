"""Inversion of the teacher: images that it is sure of, with the statistics that it has seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.chain import CPU, Chain, job, settings_with
from support.device import DEVICE

from genifer.data.batches import load_task_data
from genifer.methods.abd import Abd
from genifer.methods.inversion import _BatchStatistics, inverting_generator
from genifer.training.checkpoints import load_classifier
from genifer.training.classifier import begin


def test_inverted_images_fit_the_teacher(tmp_path: Path) -> None:
    """More classes, and statistics closer to the running ones, than those of an untrained generator."""
    chain = Chain(tmp_path)
    settings = settings_with(
        abd={
            "inversion_steps": 60,
            "inversion_batch_size": 32,
            "inversion_width": 32,
            "inversion_temperature": 1,
        }
    )
    of_task = job("train_abd", 1, tmp_path)
    rng, data = of_task.start(), load_task_data([chain.data(1)], DEVICE)
    classifier = load_classifier(chain.classifier, DEVICE).network
    learner = Abd(settings.of_method(Abd), classifier, {})
    learner.teacher = load_classifier(chain.classifier, DEVICE).network.requires_grad_(False).eval()
    begin(learner, of_task, data, rng)

    def distance(images: torch.Tensor) -> float:
        with _BatchStatistics(learner.teacher) as statistics, torch.no_grad():
            learner.teacher(images)
        return float(statistics.distance())

    channels, size = data.images.shape[1:3]
    inverter = inverting_generator(channels, size, width=32).to(DEVICE)
    with torch.no_grad():
        before = distance(inverter(learner.latents(200)))
    inverter.load_state_dict(learner.prepare())
    with torch.no_grad():
        after = inverter(learner.latents(200))
    assert distance(after) < 0.5 * before
    assert len(learner.teacher(after).argmax(1).unique()) > 1


@pytest.mark.parametrize(
    ("size", "start", "convolutions"),
    [(8, 2, 3), (32, 8, 3), (64, 16, 3), (96, 12, 4), (128, 16, 4), (224, 14, 5), (256, 16, 5)],
)
def test_an_inverting_generator_of_any_size_is_small(size: int, start: int, convolutions: int) -> None:
    """Its first layer, which grows with the square of the first maps' size, has at most 33 million weights."""
    with torch.device("meta"):
        inverter = inverting_generator(3, size, width=64)
    first, *others = [module for module in inverter if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]
    assert first.weight.shape == (128 * start**2, 1_000)
    assert len(others) == convolutions
    assert sum(weight.numel() for weight in inverter.parameters()) < 34e6
    with torch.no_grad():
        images = inverting_generator(3, size, width=2)(torch.randn(2, 1_000))
    assert images.shape == (2, 3, size, size)


def test_a_batch_is_half_new_and_half_inverted(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    settings = settings_with(abd={"steps": 4, "inversion_steps": 3})
    path = chain.train("abd", settings, tmp_path / "later")
    assert load_classifier(path, CPU).network.n_classes == 7
