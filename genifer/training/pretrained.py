"""Pretrained weights for the first stages of a new classifier."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from genifer.errors import GeniferError
from genifer.nn.classifier import Classifier
from genifer.nn.stages import SMALL
from genifer.nn.torchvision_weights import CHANNELS, WIDTH, own_name
from genifer.runtime.tensors import has_description
from genifer.settings import IMAGENET_WEIGHTS, ClassifierSettings
from genifer.training.checkpoints import load_classifier

CPU = torch.device("cpu")

STAGES, COUNTER = "stages.", "num_batches_tracked"
"""Parts of the names of weights. Counters of batches do not affect results, and old files have none."""


def with_weights_file(network: ClassifierSettings, weights: Path | None) -> ClassifierSettings:
    """Return the settings with a file in place of ``pretrained: imagenet``.

    Args:
        weights: the file that the workflow passes; None uses the one named in the settings.

    Raises:
        GeniferError: the settings say ``imagenet``, and no file is given.
    """
    if network.pretrained is None:
        return network
    if weights is not None:
        return network.model_copy(update={"pretrained": weights})
    if network.pretrained == IMAGENET_WEIGHTS:
        raise GeniferError(
            f"classifier.pretrained: {IMAGENET_WEIGHTS} needs a file of weights: run `genifer "
            f"download-weights {network.architecture} --output FILE` and add --pretrained FILE, or set "
            "classifier.pretrained to the path of the file"
        )
    return network


def take_stages(classifier: Classifier, path: Path, count: int) -> None:
    """Load the weights of the first stages from a trained network.

    Args:
        path: checkpoint of a classifier, or torchvision's weights of the same architecture. The latter leave
            a small stem as it is.
        count: number of stages: 1 is the stem, 2 to 5 add the groups.

    Raises:
        GeniferError: the file cannot be read, or its network does not fit.
    """
    if has_description(path):
        _take_from_classifier(classifier, path, count)
    else:
        _take_from_torchvision(classifier, path, count)


def _take_from_classifier(classifier: Classifier, path: Path, count: int) -> None:
    trained = load_classifier(path, CPU).network
    try:
        classifier.stages[:count].load_state_dict(trained.stages[:count].state_dict())
    except RuntimeError as error:
        raise GeniferError(
            f"classifier.pretrained: {path}: the first {count} stages of its {trained.description} do not "
            f"fit {classifier.description}; use its classifier.architecture, classifier.stem and "
            f"classifier.width ({error})"
        ) from error


def _take_from_torchvision(classifier: Classifier, path: Path, count: int) -> None:
    given, own = (
        {name: tensor for name, tensor in state.items() if name.startswith(STAGES) and COUNTER not in name}
        for state in (
            {own_name(name): tensor for name, tensor in _read(path).items()},
            classifier.state_dict(),
        )
    )
    first = 1 if classifier.stem == SMALL else 0
    # Compare all names, not only those needed: resnet34 has every weight of resnet18, and more.
    odd = set(own) ^ set(given)
    odd |= {
        name
        for name in set(own) & set(given)
        if _stage(name) >= first and own[name].shape != given[name].shape
    }
    if odd:
        raise GeniferError(
            f"classifier.pretrained: {path} does not hold torchvision's weights of classifier.architecture: "
            f"{classifier.description['architecture']} (the weight called {min(odd)} here differs); give a "
            f"file of that architecture, with classifier.width: {WIDTH} and data.channels: {CHANNELS}"
        )
    taken = {name: tensor for name, tensor in given.items() if first <= _stage(name) < count}
    classifier.load_state_dict(taken, strict=False)


def _stage(name: str) -> int:
    return int(name.split(".")[1])


def _read(path: Path) -> dict[str, Tensor]:
    """Read the tensors in a file, without running code from it."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location=CPU, weights_only=True)
        if not isinstance(content, Mapping) or not all(torch.is_tensor(value) for value in content.values()):
            raise ValueError("it is not a mapping from names to tensors")
        return {str(name): tensor for name, tensor in content.items()}
    except FileNotFoundError:
        raise GeniferError(
            f"classifier.pretrained: {path} does not exist; give the path of a file of weights, or "
            f"{IMAGENET_WEIGHTS} to download torchvision's"
        ) from None
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise GeniferError(
            f"classifier.pretrained: {path} is not a readable file of weights ({error}); copy it again. It "
            "must be a state dict as torch.save writes it (.pth), or a .safetensors file"
        ) from error
