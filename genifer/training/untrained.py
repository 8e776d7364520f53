"""Untrained networks and random images in the sizes of a run, to measure the time and memory of a step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from genifer.config import RunSettings
from genifer.data.batches import TaskData
from genifer.data.prepared_images import PreparedImages
from genifer.methods.method import Method, Preparation
from genifer.nn.classifier import Classifier
from genifer.training.classifier import ClassifierTraining, begin
from genifer.training.gan import Distillation, GanTraining
from genifer.training.job import Job
from genifer.training.networks import new_classifier, new_gan
from genifer.training.precision import ClassifierSizes
from genifer.training.resume import Part


def sizes_of(settings: RunSettings) -> ClassifierSizes:
    """Return the sizes of a run's classifier, on which its precision depends."""
    network, data = settings.classifier, settings.data
    return ClassifierSizes(network.architecture, network.width, data.channels, data.image_size, network.stem)


def untrained_classifier(
    settings: RunSettings, device: torch.device, n_classes: int | None = None
) -> Classifier:
    """Build an untrained classifier; by default for all classes of the run."""
    network = settings.classifier.model_copy(update={"pretrained": None})
    return new_classifier(network, settings.data.channels, n_classes or sum(settings.scenario.tasks), device)


def untrained_gan(settings: RunSettings, job: Job) -> GanTraining:
    """Set up a new GAN's training on a job's task, with random images and, on later tasks, a new teacher."""
    rng = job.start()
    data = random_data(settings, job.task, job.device)
    classifier = untrained_classifier(settings, job.device, data.n_old + data.n_new)
    generator, discriminator = new_gan(
        settings.gan, settings.generator, settings.discriminator, classifier, data.n_classes, data.images
    )
    distillation = None
    task_settings = settings.train_gan if job.task else settings.pretrain_gan
    if job.task:
        teacher = copy.deepcopy(generator).to(job.device).to(memory_format=torch.channels_last)
        distillation = Distillation(teacher, settings.train_gan, data.n_old, data.n_new)
    return GanTraining(
        job, settings.gan, task_settings, generator, discriminator, classifier,
        settings.gan.ada.probability, distillation, data, rng,
    )  # fmt: skip


def two_steps(count: int, _: Mapping[str, Part]) -> Iterable[int]:
    """Shorten a preparation, which can take as long as a training."""
    return range(min(count, 2))


def untrained_task(
    settings: RunSettings, method: type[Method], job: Job, preparation: Preparation = two_steps
) -> ClassifierTraining:
    """Set up a method's training on a job's task, with random images and untrained networks."""
    block = settings.of_method(method)
    rng = job.start()
    data = random_data(settings, job.task, job.device)
    memory = _first_memory(settings, method, job) if job.task and method.first_task != "shared" else {}
    learner = method(block, untrained_classifier(settings, job.device, data.n_old + data.n_new), memory)
    if method.uses_teacher:
        learner.teacher = untrained_classifier(settings, job.device, data.n_old).requires_grad_(False).eval()
    if method.uses_gan:
        generator = (
            new_gan(
                settings.gan,
                settings.generator,
                settings.discriminator,
                learner.classifier,
                data.n_classes,
                data.images,
            )[0]
            .to(job.device)
            .to(memory_format=torch.channels_last)
        )
        learner.generator = generator.eval().requires_grad_(False)
    return _started(learner, job, data, rng, block.steps, preparation)


def _first_memory(settings: RunSettings, method: type[Method], job: Job) -> dict[str, Tensor]:
    """Return the memory that a method builds of the first task."""
    data = random_data(settings, 0, job.device)
    learner = method(settings.of_method(method), untrained_classifier(settings, job.device, data.n_new), {})
    begin(learner, job, data, job.start())
    learner.classifier.eval()
    return learner.finish()


def untrained_first_task(settings: RunSettings, job: Job) -> ClassifierTraining:
    """Set up the first task's training, with random images."""
    rng = job.start()
    data = random_data(settings, job.task, job.device)
    classifier = untrained_classifier(settings, job.device, data.n_old + data.n_new)
    learner = Method(settings.pretrain_classifier, classifier, {})
    return _started(learner, job, data, rng, settings.pretrain_classifier.steps)


def _started(
    learner: Method,
    job: Job,
    data: TaskData,
    rng: torch.Generator,
    steps: int,
    preparation: Preparation = two_steps,
) -> ClassifierTraining:
    begin(learner, job, data, rng)
    training = ClassifierTraining(learner, max(steps, 1))
    learner.preparation = preparation
    learner.prepared = learner.prepare()
    return training


def random_data(settings: RunSettings, task: int, device: torch.device) -> TaskData:
    """Return random images of a task, as many as in ten batches of the GAN."""
    tasks, data = tuple(settings.scenario.tasks), settings.data
    n, first = 10 * settings.gan.batch_size, sum(tasks[:task])
    rng = torch.Generator().manual_seed(0)
    size = (n, data.channels, data.image_size, data.image_size)
    images = torch.randint(0, 256, size, generator=rng, dtype=torch.uint8)
    labels = torch.randint(first, first + tasks[task], (n,), generator=rng)
    grey = (0.5,) * data.channels
    prepared = PreparedImages.of(images.to(device))
    return TaskData(prepared, labels.to(device), tasks, task, grey, grey, ())
