"""Networks from checkpoints of the published code (Thandiackal et al., 2024).

Sizes follow from the shapes of the weights. Messages list entries that are missing, extra or of the wrong
shape by their published names.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from genifer.errors import GeniferError
from genifer.nn.classifier import ARCHITECTURES, Bottleneck, Classifier
from genifer.nn.discriminator import LAYERS_BY_STAGE, POOL, Discriminator
from genifer.nn.generator import Generator

M = TypeVar("M", bound=nn.Module)
State = Mapping[str, Tensor]

CLASSIFIER_NAMES = {
    "stages.0.": "feature_extractor.stage1.",
    "stages.1.": "feature_extractor.stage2.0.",
    "stages.2.": "feature_extractor.stage3.",
    "stages.3.": "feature_extractor.stage4.",
    "stages.4.": "feature_extractor.stage5.",
}
STYLED = {"conv.": "", "to_scale.": "y1.", "to_shift.": "y2."}
GENERATOR_NAMES = (
    {"constant": "const", "embedding.": "onehot_embed.", "mapping.0.": "w1.", "mapping.1.": "w2."}
    | {f"convs.{k}.{ours}": f"conv{k + 1}.{theirs}" for k in range(9) for ours, theirs in STYLED.items()}
    | {f"noise_scales.{k}": f"conv{k + 1}.noise_scale" for k in range(9)}
    | {f"to_output.{ours}": f"out_layer.{theirs}" for ours, theirs in STYLED.items()}
)
DISCRIMINATOR_NAMES = {
    "last_conv.": "logits.conv.",
    "dense.": "logits.dense.",
    "to_embedding.": "logits.logits.",
    "class_embedding.": "logits.onehot_project.",
} | {f"convs.{k}.": f"prologue.conv{k + 1}." for k in range(9)}
"""Prefixes of this project's names, and those of the published code."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict written by ``torch.save``, without running code from the file.

    Raises:
        GeniferError: the file is missing, is not a state dict of tensors, or cannot be read without running
            code.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise GeniferError(
            f"{path}: does not exist; give the path of a checkpoint of the published code"
        ) from error
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        BadZipFile,
        KeyError,
        OSError,
        ValueError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise GeniferError(
            f"{path}: is not a checkpoint that can be read without running code from it ({reason}); "
            "give a file with a state dict, as written by torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(content, Mapping) or not content:
        raise GeniferError(f"{path}: holds a {type(content).__name__}, not a state dict of tensors")
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise GeniferError(
            f"{path}: is not a state dict: these entries are not tensors: {', '.join(others[:10])}"
        )
    return dict(content)


def load_classifier(state: State) -> Classifier:
    """Build a classifier whose head joins the published heads for old and for new classes.

    Raises:
        GeniferError: an entry is missing, extra or of the wrong shape.
    """
    stem = _sizes(state, "feature_extractor.stage1.0.weight", 4)
    head_bias = any(f"{half}_readout.bias" in state for half in ("prev", "curr"))
    for half in ("prev", "curr"):
        _sizes(state, f"{half}_readout.weight", 2)
        if head_bias:
            _sizes(state, f"{half}_readout.bias", 1)
    joined = dict(state)
    for part in ("weight", "bias") if head_bias else ("weight",):
        halves = [joined.pop(f"{half}_readout.{part}") for half in ("prev", "curr")]
        if halves[0].shape[1:] != halves[1].shape[1:]:
            raise GeniferError(
                f"the checkpoint does not fit: prev_readout.{part} is {tuple(halves[0].shape)}, "
                f"curr_readout.{part} is {tuple(halves[1].shape)}"
            )
        joined[f"head.{part}"] = torch.cat(halves)
    block = re.compile(r"feature_extractor\.stage(2\.0|3|4|5)\.(\d+)\.")
    found = {match.groups() for name in state if (match := block.match(name))}
    depths = tuple(sum(group == stage for group, _ in found) for stage in ("2.0", "3", "4", "5"))
    bottleneck = any(".conv3." in name for name in state)
    for architecture, (kind, blocks) in ARCHITECTURES.items():
        if blocks == depths and (kind is Bottleneck) == bottleneck:
            classifier = Classifier(architecture, stem[0], stem[1], len(joined["head.weight"]), head_bias)
            return _filled(classifier, joined, CLASSIFIER_NAMES)
    raise GeniferError(
        f"a classifier with {depths} blocks in feature_extractor.stage2 to stage5 is unknown; known are "
        f"{', '.join(ARCHITECTURES)}"
    )


def load_generator(state: State) -> Generator:
    """Build a generator of images, with as many convolutions as the state dict has.

    Raises:
        GeniferError: an entry is missing, extra or of the wrong shape.
    """
    constant = _sizes(state, "const", 4)
    embedding_dim, n_classes = _sizes(state, "onehot_embed.weight", 2)
    style_dim, mapped = _sizes(state, "w1.weight", 2)
    n_convs = sum(re.fullmatch(r"conv\d+\.weight", name) is not None for name in state)
    channels = [constant[1]] + [_sizes(state, f"conv{k + 1}.weight", 4)[0] for k in range(n_convs)]
    image_channels = _sizes(state, "out_layer.weight", 4)[0]
    latent_dim = mapped - embedding_dim
    generator = Generator(n_classes, latent_dim, embedding_dim, style_dim, channels, image_channels)
    return _filled(generator, state, GENERATOR_NAMES)


def load_discriminator(state: State) -> Discriminator:
    """Build a discriminator, whose matching stage follows from its layers.

    Raises:
        GeniferError: an entry is missing, extra or of the wrong shape.
    """
    embedding, n_classes = _sizes(state, "logits.onehot_project.weight", 2)
    last = _sizes(state, "logits.conv.weight", 4)
    dense = _sizes(state, "logits.dense.weight", 2)
    names = [name for name in state if re.fullmatch(r"prologue\.conv\d+\.weight", name)]
    shapes = [_sizes(state, name, 4) for name in names]
    width = embedding // 2
    multiples = [shape[0] // width for shape in shapes]
    in_channels = shapes[0][1] if shapes else last[1] - 1
    for stage, layers in LAYERS_BY_STAGE.items():
        if [layer for layer in layers if layer != POOL] == multiples:
            side = round((dense[1] / dense[0]) ** 0.5) * 2 ** layers.count(POOL)
            discriminator = Discriminator(n_classes, stage, in_channels, side, width)
            return _filled(discriminator, state, DISCRIMINATOR_NAMES)
    raise GeniferError(
        f"a discriminator with convolutions of {[shape[0] for shape in shapes]} channels "
        "(prologue.conv1, conv2, ...) matches no stage"
    )


def _sizes(state: State, name: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape of an entry from which sizes of the network follow."""
    if name not in state:
        found = ", ".join(list(state)[:5])
        raise GeniferError(f"the checkpoint does not fit: {name} is missing (found: {found}, ...)")
    shape = tuple(state[name].shape)
    if len(shape) != dimensions:
        raise GeniferError(
            f"the checkpoint does not fit: {name} is {shape}, but needs {dimensions} dimensions"
        )
    return shape


def _filled(module: M, state: State, names: Mapping[str, str]) -> M:
    """Load a state dict with published names into a network, and return the network."""
    published = {ours: _published(ours, names) for ours in module.state_dict()}
    needed = {published[name]: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    problems = [f"missing: {name} {shape}" for name, shape in needed.items() if name not in given]
    problems += [f"extra: {name} {shape}" for name, shape in given.items() if name not in needed]
    problems += [
        f"wrong shape: {name} is {given[name]}, but must be {shape}"
        for name, shape in needed.items()
        if given.get(name, shape) != shape
    ]
    if problems:
        raise GeniferError("\n  ".join(["the checkpoint does not fit:", *problems]))
    module.load_state_dict({ours: state[theirs] for ours, theirs in published.items()})
    return module


def _published(ours: str, names: Mapping[str, str]) -> str:
    for beginning, theirs in names.items():
        if ours.startswith(beginning):
            return (theirs + ours.removeprefix(beginning)).replace(".shortcut.", ".downsample.")
    return ours
