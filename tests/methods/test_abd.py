"""Inversion of the teacher: images that it is sure of, with the statistics that it has seen."""

from __future__ import annotations

from pathlib import Path

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


def test_a_batch_is_half_new_and_half_inverted(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    settings = settings_with(abd={"steps": 4, "inversion_steps": 3})
    path = chain.train("abd", settings, tmp_path / "later")
    assert load_classifier(path, CPU).network.n_classes == 7
