"""Untrained networks and random images at the sizes of a run: to time a step, and to weigh."""

from __future__ import annotations

import copy

import torch

from genifer.config import RunSettings
from genifer.data.batches import TaskData
from genifer.nn.classifier import Classifier
from genifer.training.gan import Distillation, GanStep, new_gan
from genifer.training.stage import Stage


def new_classifier(settings: RunSettings, device: torch.device, n_classes: int | None = None) -> Classifier:
    """An untrained classifier, of all classes unless their number is given."""
    network = settings.classifier
    classifier = Classifier(
        network.architecture,
        network.width,
        settings.data.channels,
        n_classes or sum(settings.scenario.tasks),
        network.readout_bias,
    )
    return classifier.to(device).to(memory_format=torch.channels_last)


def new_gan_step(settings: RunSettings, stage: Stage) -> tuple[GanStep, TaskData]:
    """A new GAN at a stage's task, held to an old one on a later task, and images to train it on."""
    stage.start()
    data = random_data(settings, stage.task, stage.device)
    classifier = new_classifier(settings, stage.device, data.n_old + data.n_new)
    generator, discriminator = new_gan(
        settings.gan, settings.generator, settings.discriminator, classifier, data.n_classes, data.images
    )
    held = None
    if stage.task:
        old = copy.deepcopy(generator).to(stage.device).to(memory_format=torch.channels_last)
        held = Distillation(old, settings.train_gan, data.n_old, data.n_new)
    probability = settings.gan.ada.probability
    return GanStep(settings.gan, generator, discriminator, classifier, stage, probability, held), data


def random_data(settings: RunSettings, task: int, device: torch.device) -> TaskData:
    """Random images of a task, as many as ten batches of the GAN have."""
    tasks, data = tuple(settings.scenario.tasks), settings.data
    n, first = 10 * settings.gan.batch_size, sum(tasks[:task])
    rng = torch.Generator().manual_seed(0)
    size = (n, data.channels, data.image_size, data.image_size)
    images = torch.randint(0, 256, size, generator=rng, dtype=torch.uint8)
    labels = torch.randint(first, first + tasks[task], (n,), generator=rng)
    grey = (0.5,) * data.channels
    return TaskData(images.to(device), labels.to(device), tasks, task, grey, grey, ())
