"""Trainings of the classifier: on the first task, and on a later task by any method."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from genifer.data.batches import Normalization, ShuffledBatches, TaskData, load_task_data, only
from genifer.errors import GeniferError
from genifer.methods.method import Batch, Method
from genifer.methods.rotation import FirstTaskWithRotations
from genifer.nn.classifier import Classifier
from genifer.nn.layers import BatchNorm2d
from genifer.runtime import parallel
from genifer.settings import ClassifierSettings, MethodSettings, PretrainClassifierSettings
from genifer.training.checkpoints import (
    TrainedClassifier,
    load_classifier,
    load_gan,
    refuse_stored_images,
    require_classes,
    save_classifier,
)
from genifer.training.job import Job
from genifer.training.networks import new_classifier
from genifer.training.optimizers import make_optimizer
from genifer.training.resume import Part

log = logging.getLogger(__name__)


def pretrain_classifier(
    job: Job, network: ClassifierSettings, settings: PretrainClassifierSettings, data_paths: Sequence[Path]
) -> None:
    """Train a new classifier on the first task; writes ``classifier.safetensors``."""
    rng = job.start()
    data = load_task_data(only(data_paths), job.device, job.data_on_device)
    method = FirstTaskWithRotations if settings.rotations else Method
    learner = method(settings, _first_classifier(network, data, job), {})
    begin(learner, job, data, rng)
    fit(learner, settings.steps)


def train_task(
    job: Job,
    method: type[Method],
    settings: MethodSettings,
    network: ClassifierSettings,
    data_paths: Sequence[Path],
    old_classifier_path: Path | None,
    old_gan_path: Path | None,
) -> None:
    """Learn a task by a method; writes ``classifier.safetensors``.

    Args:
        network: settings of a new classifier, for methods that train the first task themselves.
        data_paths: prepared training images of the task, or of all tasks so far (``method.images``).
        old_classifier_path: the previous task's classifier. On the first task, the shared classifier for
            methods that build a memory of it; None for methods that train the first task themselves.
        old_gan_path: the previous task's GAN, for methods that use one.

    Raises:
        GeniferError: a checkpoint is missing, or belongs to another task or method.
    """
    rng = job.start()
    paths = data_paths if method.images == "so_far" else only(data_paths)
    data = load_task_data(paths, job.device, job.data_on_device)
    _require_files(method, data, old_classifier_path, old_gan_path)
    if method.images == "so_far":
        log.info("[%s] trains on the images of all tasks so far", job.title)
    gan = load_gan(old_gan_path, job.device) if old_gan_path is not None else None
    if gan is not None and old_gan_path is not None:
        require_classes(old_gan_path, gan.n_classes_seen, data.n_old, f"task {data.task}")
    if old_classifier_path is None:
        learner = method(settings, _first_classifier(network, data, job), {})
        begin(learner, job, data, rng)
        fit(learner, settings.steps)
        return
    trained = load_classifier(old_classifier_path, job.device)
    classifier, memory = trained.network, _memory_of(method, trained, old_classifier_path)
    steps = settings.steps
    if method.first_task == "memory" and not memory and classifier.n_classes == data.n_old + data.n_new:
        steps = 0  # the shared classifier has learned the first task already; only the memory is missing
        learner = method(settings, classifier, memory)
    else:
        require_classes(old_classifier_path, classifier.n_classes, data.n_old, f"task {data.task}")
        if gan is None and method.uses_gan:
            raise GeniferError(
                f"--old-gan is missing: {method.name} replays samples of the previous task's GAN"
            )
        teacher = copy.deepcopy(classifier) if method.uses_teacher else None
        classifier.grow(data.n_new)
        learner = method(settings, classifier, memory)
        if teacher is not None:
            learner.teacher = teacher.requires_grad_(False).eval()
        if gan is not None:
            learner.generator = gan.generator.eval().requires_grad_(False)
    begin(learner, job, data, rng)
    fit(learner, steps)


def _first_classifier(network: ClassifierSettings, data: TaskData, job: Job) -> Classifier:
    return new_classifier(network, data.images.shape[1], data.n_old + data.n_new, job.device)


def begin(learner: Method, job: Job, data: TaskData, rng: torch.Generator) -> None:
    """Set the attributes of a method that its training needs."""
    learner.job, learner.data, learner.rng = job, data, rng
    learner.normalize = Normalization(data.mean, data.std).to(job.device)
    learner.classifier.freeze_stages(learner.settings.frozen_stages)


def fit(learner: Method, count: int) -> None:
    """Run the loop of a training and write its checkpoint, including the method's memory."""
    job, data = learner.job, learner.data
    training = ClassifierTraining(learner, count) if count else None
    parts = training.parts if training is not None else {}
    with job.loop(count, parts) as loop:
        if training is not None and loop.done == 0:
            learner.preparation = loop.preparation
            learner.prepared = parallel.tensors_of_first(learner.prepare())
        for step in loop:
            assert training is not None
            loop.record(step, training.step())
        learner.classifier.eval()
        memory = learner.finish()
        if not learner.stores_exemplars:
            refuse_stored_images(memory, data.images, type(learner))
    if parallel.is_first():
        save_classifier(
            job.output / "classifier.safetensors",
            learner.classifier,
            data.task,
            data.mean,
            data.std,
            method=learner if memory or learner.has_own_logits() else None,
            memory=memory,
        )
    loop.finish()


class ClassifierTraining:
    """The training of a classifier by a method, step by step.

    Attributes:
        parts: the parts whose states a resume file holds, by name.
    """

    def __init__(self, learner: Method, count: int) -> None:
        settings, job = learner.settings, learner.job
        learner.classifier.train()
        if settings.frozen_batch_norm:
            learner.classifier.stages[: settings.frozen_stages].eval()
        learner.batches = ShuffledBatches(learner.data, learner.images_per_batch(), learner.rng)
        learner.setup()
        networks = nn.ModuleDict(learner.networks).to(job.device)
        if parallel.size() > 1:
            _require_parts(learner)
        self.learner = learner
        self.weights = [*learner.classifier.parameters(), *networks.parameters()]
        self.optimizer, self.schedule = make_optimizer(settings.optimizer, self.weights, count)
        self._losses = job.compiled(self.losses)
        self.parts: dict[str, Part] = {
            "classifier": learner.classifier,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "batches": learner.batches,
            "prepared": _Prepared(learner),
            "rng": learner.rng,
        }
        if learner.networks:
            self.parts["networks"] = networks

    def step(self) -> dict[str, Tensor]:
        """Take one step of the optimizer; return its scalars."""
        self.learner.step = self.schedule.done
        losses = self._losses(parallel.own(self.learner.draw_batch()))
        self.optimizer.zero_grad()
        losses["loss"].backward()
        parallel.average_gradients(self.weights)
        self.optimizer.step()
        losses = parallel.averaged(losses)
        self.schedule.step(self.learner.progress_loss(losses))
        return losses

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the method's losses under autocast."""
        if batch.images.dim() == 4:
            batch = batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))
        with self.learner.job.autocast():
            return self.learner.losses(batch)


class _Prepared:
    """What a method's `prepare` returned, as a part of the resume state."""

    def __init__(self, learner: Method) -> None:
        self.learner = learner

    def state_dict(self) -> dict[str, Tensor]:
        return self.learner.prepared

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        device = self.learner.job.device
        self.learner.prepared = {name: tensor.to(device) for name, tensor in state.items()}


def _require_parts(learner: Method) -> None:
    """Reject a method or batch that several processes cannot share."""
    name, settings = learner.job.block, learner.settings
    if not learner.can_split_batches():
        raise GeniferError(
            f"runtime.gpus_per_job: {parallel.size()}, but method {learner.name} does not declare that its "
            "batches can be split. Train it with runtime.gpus_per_job: 1. If the mean of its losses over "
            "equal parts of a batch equals that of the whole batch, set splits_batches = True in the class "
            "that defines them"
        )
    for network, module in nn.ModuleDict(learner.networks).named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, BatchNorm2d):
            raise GeniferError(
                f"runtime.gpus_per_job: {parallel.size()}, but the batch norm {network} of method "
                f"{learner.name} would see only a part of each batch: use genifer.nn.layers.BatchNorm2d, or "
                "train the method with runtime.gpus_per_job: 1"
            )
    images = learner.images_per_batch()
    parallel.require_even(
        f"{name}.batch_size",
        settings.batch_size,
        {"images": images, "other samples": settings.batch_size - images},
    )


def _require_files(
    method: type[Method], data: TaskData, old_classifier: Path | None, old_gan: Path | None
) -> None:
    if old_classifier is None and (method.first_task != "own" or data.n_old):
        raise GeniferError(
            f"--old-classifier is missing: {method.name} starts from the previous task's classifier"
        )
    if old_gan is not None and not method.uses_gan:
        raise GeniferError(f"--old-gan: {method.name} uses no GAN; omit the option")


def _memory_of(method: type[Method], trained: TrainedClassifier, path: Path) -> dict[str, Tensor]:
    """Return the memory in a checkpoint; raise an error if it is another method's."""
    if trained.method is not None and trained.method != method.name:
        raise GeniferError(
            f"{path}: was made by the method {trained.method}, whose memory {method.name} cannot use; give "
            f"the checkpoint of {method.name}, or of the first task"
        )
    return trained.memory
