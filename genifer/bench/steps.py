"""Benchmarks of training steps, in the sizes of a run."""

from __future__ import annotations

from collections.abc import Iterator

from genifer.bench.meter import Figures, Meter
from genifer.config import RunSettings, Variant
from genifer.training.untrained import untrained_first_task, untrained_gan, untrained_task
from genifer.versions import TRAIN


def gan_steps(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Measure a step of the GAN on the first task and on a later task."""
    settings = variant_with_gan(settings).settings
    yield gan_step(meter, settings, 0)
    if len(settings.scenario.tasks) > 1:
        yield gan_step(meter, settings, 1)


def gan_step(meter: Meter, settings: RunSettings, task: int) -> Figures:
    """Measure a step of the GAN on a task."""
    gan = untrained_gan(settings, meter.job("train_gan" if task else "pretrain_gan", task))
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        with meter.part("batch"):
            batch = gan.draw_batch()
        with meter.part("shared pass of the generator"):
            generated = gan.share(batch)
        with meter.part("discriminator step"):
            gan.discriminator_step(batch, done, generated)
        with meter.part("generator step"):
            gan.generator_step(batch, generated)
        with meter.part("EMA"):
            gan.update_ema(done)

    name = f"GAN, {'later' if task else 'first'} task"
    ada = settings.gan.ada
    note = f"ADA probability {'none' if ada.mode == 'none' else f'{ada.probability:g}'}"
    return meter.step(name, step, settings.gan.batch_size, note)


def classifier_steps(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Measure a step of the classifier on the first task."""
    training = untrained_first_task(settings, meter.job("pretrain_classifier", 0))
    yield meter.step("classifier, first task", training.step, settings.pretrain_classifier.batch_size)


def next_task_steps(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Measure a step of the classifier on a later task, if there is one, for each method of the run."""
    if len(settings.scenario.tasks) > 1:
        for variant in settings.variants:
            yield from next_task_step(meter, variant, variant.settings, 1)


def next_task_step(meter: Meter, variant: Variant, settings: RunSettings, task: int) -> Iterator[Figures]:
    """Measure a step of the classifier on a later task; yields nothing for methods without training.

    Args:
        settings: settings of the run, with a block for the variant's method.
    """
    block = settings.of_method(variant.method)
    if not block.steps:
        return
    job = meter.job(f"{TRAIN}{variant.method.name}", task)
    training = untrained_task(settings, variant.method, job)
    yield meter.step(f"classifier, later task ({variant.label})", training.step, block.batch_size)


def variant_with_gan(settings: RunSettings) -> Variant:
    """Return the run's first variant with a GAN; if there is none, its first variant."""
    variants = settings.variants
    return next((variant for variant in variants if variant.method.uses_gan), variants[0])


def with_ada(settings: RunSettings, probability: float | None) -> RunSettings:
    """Return the settings with this fixed probability of augmentation; None leaves them unchanged."""
    if probability is None:
        return settings
    ada = settings.gan.ada.model_copy(update={"mode": "fixed", "probability": probability})
    return settings.model_copy(update={"gan": settings.gan.model_copy(update={"ada": ada})})
