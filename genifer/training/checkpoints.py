"""Checkpoints of classifiers and GANs: weights and what is needed to build the networks again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from genifer.config import plain
from genifer.data.batches import Normalization
from genifer.data.prepared_images import PreparedImages
from genifer.errors import GeniferError
from genifer.methods.method import MEMORY, Method
from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator
from genifer.registry import Registry
from genifer.runtime.tensors import load_state, load_tensors, prefixed, save_tensors, without_prefix
from genifer.settings import GanSettings, TrainingSettings


@dataclass
class TrainedClassifier:
    """A classifier as its checkpoint has it.

    Attributes:
        normalization: of its images.
        method: name of the method that reads ``memory`` or classifies without the head; None for a plain
            classifier.
        settings: the method's.
        memory: what the method left for the next task.
    """

    network: Classifier
    normalization: Normalization
    method: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class TrainedGan:
    """Generator (its running average) and discriminator after a task.

    Attributes:
        n_classes_seen: the generator knows the labels below this number.
        ada_probability: at the end of its training.
    """

    generator: Generator
    discriminator: Discriminator
    n_classes_seen: int
    ada_probability: float


def save_classifier(
    path: Path,
    classifier: Classifier,
    task: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    method: Method | None = None,
    memory: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a classifier after a task.

    Args:
        mean, std: of its images' channels.
        method: that needs ``memory`` or classifies in its own way.
    """
    description: dict[str, Any] = {
        "kind": "classifier",
        "network": classifier.description,
        "n_classes": classifier.n_classes,
        "task": task,
        "mean": list(mean),
        "std": list(std),
    }
    if method is not None:
        description |= {"method": method.name, "settings": plain(method.settings)}
    # A memory may be the weights themselves, but a file holds each tensor once.
    copies = {name: tensor.detach().clone() for name, tensor in (memory or {}).items()}
    save_tensors(path, classifier.state_dict() | prefixed(MEMORY, copies), description)


def load_classifier(path: Path, device: torch.device) -> TrainedClassifier:
    """Read a classifier and put it on a device."""
    tensors, description = load_tensors(path, "classifier")
    memory = without_prefix(MEMORY, tensors)
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{MEMORY}.")}
    with _built_from_description(path):
        network = Classifier(**description["network"], n_classes=description["n_classes"])
        normalization = Normalization(description["mean"], description["std"])
    load_state(network, weights, path)
    network.to(device).to(memory_format=torch.channels_last)
    return TrainedClassifier(
        network,
        normalization.to(device),
        description.get("method"),
        description.get("settings", {}),
        {name: tensor.to(device) for name, tensor in memory.items()},
    )


def load_predictor(path: Path, device: torch.device, registry: Registry) -> tuple[TrainedClassifier, Method]:
    """Read a classifier with the method that it classifies by.

    Raises:
        GeniferError: that method is not installed.
    """
    trained = load_classifier(path, device)
    if trained.method is None:
        return trained, Method(TrainingSettings(), trained.network, {})
    if trained.method not in registry.methods:
        raise GeniferError(
            f"{path}: was made by the method '{trained.method}', which is not installed; "
            f"{registry.hint(registry.methods)}"
        )
    method = registry.methods[trained.method]
    try:
        settings = method.Settings.model_validate(trained.settings)
    except ValidationError as error:
        raise GeniferError(
            f"{path}: was made with settings that this version of {method.name} does not have ({error}); "
            "train it "
            "again"
        ) from error
    return trained, method(settings, trained.network, trained.memory)


def refuse_stored_images(
    memory: Mapping[str, Tensor], images: Tensor | PreparedImages, method: type[Method]
) -> None:
    """Refuse a memory that holds images, which is for methods that declare it.

    Args:
        images: (n, channels, size, size), of the task.
    """
    for name, tensor in memory.items():
        if tensor.shape[-3:] == images.shape[1:]:
            raise GeniferError(
                f"method {method.name}: its memory '{name}' of shape {tuple(tensor.shape)} holds images. A "
                "method "
                "that keeps images for later tasks declares it: stores_exemplars = True"
            )


def save_gan(
    path: Path,
    generator: Generator,
    discriminator: Discriminator,
    n_classes_seen: int,
    ada_probability: float,
) -> None:
    save_tensors(
        path,
        prefixed("generator", generator.state_dict()) | prefixed("discriminator", discriminator.state_dict()),
        {
            "kind": "GAN",
            "generator": generator.description,
            "discriminator": discriminator.description,
            "n_classes_seen": n_classes_seen,
            "ada_probability": ada_probability,
        },
    )


def load_gan(path: Path, device: torch.device) -> TrainedGan:
    tensors, description = load_tensors(path, "GAN")
    with _built_from_description(path):
        generator = Generator(**description["generator"])
        discriminator = Discriminator(**description["discriminator"])
        n_classes_seen, ada_probability = description["n_classes_seen"], description["ada_probability"]
    load_state(generator, without_prefix("generator", tensors), path)
    load_state(discriminator, without_prefix("discriminator", tensors), path)
    generator.to(device).to(memory_format=torch.channels_last)
    discriminator.to(device).to(memory_format=torch.channels_last)
    return TrainedGan(generator, discriminator, n_classes_seen, ada_probability)


@contextmanager
def _built_from_description(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise GeniferError(
            f"{path}: describes no network of this version of genifer ({error}); make it again with it"
        ) from error


def require_classes(path: Path, found: int, needed: int, what: str) -> None:
    """Refuse a checkpoint of another task than the one at hand."""
    if found != needed:
        raise GeniferError(
            f"{path}: knows {found} classes, but {what} needs one that knows {needed}; "
            "give the checkpoint of the right task"
        )


def require_matching(path: Path, gan: TrainedGan, settings: GanSettings) -> None:
    """Refuse a GAN that was trained for another stage or mode than the settings'."""
    matched, made = gan.discriminator.description["stage"], gan.generator.stage
    if (matched, made) != (settings.matching_stage, settings.generated_stage):
        mode = "direct" if made else "indirect"
        raise GeniferError(
            f"{path}: was trained with gan.matching_stage: {matched} and gan.matching_mode: {mode}, but the "
            f"settings say {settings.matching_stage} and {settings.matching_mode}; use the same ones"
        )
