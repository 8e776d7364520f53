"""Checkpoints of classifiers and GANs: weights and what is needed to build the networks again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from genifer.config import GanSettings
from genifer.data.batches import Normalization
from genifer.errors import GeniferError
from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator
from genifer.runtime.tensors import load_state, load_tensors, prefixed, save_tensors, without_prefix


@dataclass
class TrainedClassifier:
    """A classifier and the normalisation of its images."""

    network: Classifier
    normalization: Normalization


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
    path: Path, classifier: Classifier, task: int, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Write a classifier after a task, with the mean and standard deviation of its images' channels."""
    save_tensors(
        path,
        classifier.state_dict(),
        {
            "kind": "classifier",
            "network": classifier.description,
            "n_classes": classifier.n_classes,
            "task": task,
            "mean": list(mean),
            "std": list(std),
        },
    )


def load_classifier(path: Path, device: torch.device) -> TrainedClassifier:
    tensors, description = load_tensors(path, "classifier")
    with _built_from_description(path):
        network = Classifier(**description["network"], n_classes=description["n_classes"])
        normalization = Normalization(description["mean"], description["std"])
    load_state(network, tensors, path)
    network.to(device).to(memory_format=torch.channels_last)
    return TrainedClassifier(network, normalization.to(device))


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
