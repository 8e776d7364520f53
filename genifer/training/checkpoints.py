"""Checkpoints of classifiers and GANs: weights, and the description from which to rebuild the networks."""

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
    """A classifier read from its checkpoint.

    Attributes:
        normalization: the normalisation of its input images.
        method: name of the method that reads ``memory`` or classifies without the head; None for a plain
            classifier.
        settings: the method's settings.
        memory: what the method keeps for the next task.
    """

    network: Classifier
    normalization: Normalization
    method: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class TrainedGan:
    """The EMA of a generator, and its discriminator, after a task.

    Attributes:
        n_classes_seen: number of classes learned so far: the labels below this number.
        ada_probability: ADA's probability at the end of the training.
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
    """Write the checkpoint of a classifier after a task.

    Args:
        mean, std: per channel, with which its input images are normalised.
        method: the method that needs ``memory`` or classifies without the head, if any.
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
    # A memory may share its storage with the weights, which the file format does not allow.
    copies = {name: tensor.detach().clone() for name, tensor in (memory or {}).items()}
    save_tensors(path, classifier.state_dict() | prefixed(MEMORY, copies), description)


def load_classifier(path: Path, device: torch.device) -> TrainedClassifier:
    """Read the checkpoint of a classifier and move it to a device."""
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
    """Read a classifier together with the method that computes its logits.

    Raises:
        GeniferError: the method is not installed, or no longer has the checkpoint's settings.
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
            "train it again"
        ) from error
    return trained, method(settings, trained.network, trained.memory)


def refuse_stored_images(
    memory: Mapping[str, Tensor], images: Tensor | PreparedImages, method: type[Method]
) -> None:
    """Reject a memory that holds images; only methods that declare exemplars may store them.

    Args:
        images: (n, channels, size, size): the task's images.

    Raises:
        GeniferError: a tensor of the memory has the shape of images.
    """
    for name, tensor in memory.items():
        if tensor.shape[-3:] == images.shape[1:]:
            raise GeniferError(
                f"method {method.name}: its memory '{name}' of shape {tuple(tensor.shape)} holds images. A "
                "method that keeps images for later tasks must declare it: stores_exemplars = True"
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
            f"{path}: does not describe a network of this version of genifer ({error}); train it again with "
            "this version"
        ) from error


def require_classes(path: Path, found: int, needed: int, what: str) -> None:
    """Reject a checkpoint of the wrong task.

    Raises:
        GeniferError: it knows another number of classes than needed.
    """
    if found != needed:
        raise GeniferError(
            f"{path}: knows {found} classes, but {what} needs a checkpoint that knows {needed}; "
            "give the checkpoint of the right task"
        )


def require_matching(path: Path, gan: TrainedGan, settings: GanSettings) -> None:
    """Reject a GAN trained with another matching stage or mode than that of the settings.

    Raises:
        GeniferError: the stage or mode differs.
    """
    matched, made = gan.discriminator.description["stage"], gan.generator.stage
    if (matched, made) != (settings.matching_stage, settings.generated_stage):
        mode = "direct" if made else "indirect"
        raise GeniferError(
            f"{path}: was trained with gan.matching_stage: {matched} and gan.matching_mode: {mode}, but the "
            f"settings say {settings.matching_stage} and {settings.matching_mode}; use the same values"
        )
