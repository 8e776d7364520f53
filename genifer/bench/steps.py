"""Steps of the trainings, at the sizes of a run."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from genifer.bench.meter import Figures, Meter
from genifer.config import GanSettings, RunSettings
from genifer.data.batches import Normalization
from genifer.training.gan import ema_decay, gan_batches, gan_data, update_average
from genifer.training.genifer import ReplayTraining
from genifer.training.supervised import ImageTraining
from genifer.untrained import new_classifier, new_gan_step, random_data


def gan_steps(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Of the GAN, on the first and on a later task."""
    yield gan_step(meter, settings, 0)
    if len(settings.scenario.tasks) > 1:
        yield gan_step(meter, settings, 1)


def gan_step(meter: Meter, settings: RunSettings, task: int) -> Figures:
    """Of the GAN on a task."""
    stage = meter.stage("train_gan" if task else "pretrain_gan", task)
    gan, data = new_gan_step(settings, stage)
    normalize = Normalization(data.mean, data.std).to(meter.device)
    batches = gan_batches(gan, gan_data(gan, data, stage.start()), normalize)
    averaged = copy.deepcopy(gan.generator).requires_grad_(False)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        with meter.part("draws and images"):
            batch = next(batches)
        with meter.part("discriminator's step"):
            gan.discriminator_step(batch, done)
        with meter.part("generator's step"):
            gan.generator_step(batch)
        with meter.part("running average"):
            decay = ema_decay(done, gan.settings.batch_size, gan.settings.ema_half_life, 1.0)
            update_average(averaged, gan.generator, decay)

    name = f"GAN, {'a later' if task else 'the first'} task"
    ada = gan.settings.ada
    note = f"ADA probability {'none' if ada.mode == 'none' else f'{ada.probability:g}'}"
    return meter.step(name, step, gan.settings.batch_size, note)


def classifier_steps(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Of the classifier on the first task."""
    stage = meter.stage("pretrain_classifier", 0)
    data = random_data(settings, 0, meter.device)
    classifier = new_classifier(settings, meter.device, data.n_new)
    training = ImageTraining(stage, settings.pretrain_classifier, classifier, data, stage.start())
    batch_size = settings.pretrain_classifier.batch_size
    yield meter.step("classifier, the first task", training.step, batch_size)


def next_task_steps(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Of the classifier on a later task, if there is one."""
    if len(settings.scenario.tasks) > 1:
        yield next_task_step(meter, settings, 1)


def next_task_step(meter: Meter, settings: RunSettings, task: int) -> Figures:
    """Of the classifier on a later task, with replay."""
    stage = meter.stage("train_genifer", task)
    gan, data = new_gan_step(settings, meter.stage("train_gan", task))
    training = ReplayTraining(
        stage,
        settings.genifer,
        new_classifier(settings, meter.device, data.n_old + data.n_new),
        new_classifier(settings, meter.device, data.n_old),
        gan.generator.eval().requires_grad_(False),
        data,
        Normalization(data.mean, data.std).to(meter.device),
        stage.start(),
    )
    return meter.step("classifier, a later task", training.step, settings.genifer.batch_size)


def with_ada(settings: RunSettings, probability: float | None) -> RunSettings:
    """The settings with a fixed probability of the discriminator's augmentation, if one is given."""
    if probability is None:
        return settings
    ada = settings.gan.ada.model_copy(update={"mode": "fixed", "probability": probability})
    gan: GanSettings = settings.gan.model_copy(update={"ada": ada})
    return settings.model_copy(update={"gan": gan})
