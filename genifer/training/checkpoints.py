"""Checkpoints of classifiers and GANs: weights and what is needed to build the networks again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from genifer.data.batches import Normalization, TaskData
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
    """

    generator: Generator
    discriminator: Discriminator
    n_classes_seen: int


def save_classifier(path: Path, classifier: Classifier, data: TaskData) -> None:
    save_tensors(
        path,
        classifier.state_dict(),
        {
            "kind": "classifier",
            "network": classifier.description,
            "n_classes": classifier.n_classes,
            "task": data.task,
            "mean": data.mean,
            "std": data.std,
        },
    )


def load_classifier(path: Path, device: torch.device) -> TrainedClassifier:
    tensors, description = load_tensors(path, "classifier")
    network = Classifier(**description["network"], n_classes=description["n_classes"])
    load_state(network, tensors, path)
    network.to(device).to(memory_format=torch.channels_last)
    return TrainedClassifier(network, Normalization(description["mean"], description["std"]).to(device))


def save_gan(path: Path, generator: Generator, discriminator: Discriminator, n_classes_seen: int) -> None:
    save_tensors(
        path,
        prefixed("generator", generator.state_dict()) | prefixed("discriminator", discriminator.state_dict()),
        {
            "kind": "GAN",
            "generator": generator.description,
            "discriminator": discriminator.description,
            "n_classes_seen": n_classes_seen,
        },
    )


def load_gan(path: Path, device: torch.device) -> TrainedGan:
    tensors, description = load_tensors(path, "GAN")
    generator = Generator(**description["generator"])
    load_state(generator, without_prefix("generator", tensors), path)
    discriminator = Discriminator(**description["discriminator"])
    load_state(discriminator, without_prefix("discriminator", tensors), path)
    generator.to(device).to(memory_format=torch.channels_last)
    discriminator.to(device).to(memory_format=torch.channels_last)
    return TrainedGan(generator, discriminator, description["n_classes_seen"])


def require_classes(path: Path, found: int, needed: int, what: str) -> None:
    """Refuse a checkpoint of another task than the one at hand."""
    if found != needed:
        raise GeniferError(
            f"{path}: knows {found} classes, but {what} needs one that knows {needed}; "
            "give the checkpoint of the right task"
        )
