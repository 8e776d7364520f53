"""State dicts with the names of the published code, as this project's networks.

Sizes are read from the shapes. The names are those of the published checkpoints
(Thandiackal et al., 2024); an entry that has no place here is reported by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from genifer.errors import GeniferError
from genifer.nn.classifier import ARCHITECTURES, Bottleneck, Classifier
from genifer.nn.discriminator import LAYERS_BY_STAGE, POOL, Discriminator
from genifer.nn.generator import Generator

M = TypeVar("M", bound=nn.Module)
Renaming = Sequence[tuple[str, str]]

CLASSIFIER_NAMES: Renaming = (
    (r"feature_extractor\.stage1\.(\d)\.(.*)", r"stages.0.\1.\2"),
    (r"feature_extractor\.stage2\.0\.(.*)", r"stages.1.\1"),
    (r"feature_extractor\.stage3\.(.*)", r"stages.2.\1"),
    (r"feature_extractor\.stage4\.(.*)", r"stages.3.\1"),
    (r"feature_extractor\.stage5\.(.*)", r"stages.4.\1"),
)
GENERATOR_NAMES: Renaming = (
    (r"const", r"constant"),
    (r"onehot_embed\.(.*)", r"embedding.\1"),
    (r"w1\.(.*)", r"mapping.0.\1"),
    (r"w2\.(.*)", r"mapping.1.\1"),
)
DISCRIMINATOR_NAMES: Renaming = (
    (r"logits\.conv\.(.*)", r"last_conv.\1"),
    (r"logits\.dense\.(.*)", r"dense.\1"),
    (r"logits\.logits\.(.*)", r"to_embedding.\1"),
    (r"logits\.onehot_project\.(.*)", r"class_embedding.\1"),
)


def load_classifier(state: Mapping[str, Tensor]) -> Classifier:
    """A classifier with one readout for the earlier and the current classes of the published one."""
    _require(state, "feature_extractor.stage1.0.weight", "prev_readout.weight", "curr_readout.weight")
    readout = {
        f"readout.{part}": torch.cat([state[f"prev_readout.{part}"], state[f"curr_readout.{part}"]])
        for part in ("weight", "bias")
    }
    features = {name: tensor for name, tensor in state.items() if "_readout." not in name}
    renamed = {
        name.replace(".downsample.", ".shortcut."): tensor
        for name, tensor in _renamed(features, CLASSIFIER_NAMES).items()
    }
    width, in_channels = state["feature_extractor.stage1.0.weight"].shape[:2]
    depth = [len({n.split(".")[2] for n in renamed if n.startswith(f"stages.{g}.")}) for g in (1, 2, 3, 4)]
    bottleneck = any(".conv3." in name for name in renamed)
    for architecture, (block, depths) in ARCHITECTURES.items():
        if list(depths) == depth and (block is Bottleneck) == bottleneck:
            return _filled(
                Classifier(architecture, width, in_channels, len(readout["readout.bias"])), renamed | readout
            )
    raise GeniferError(f"a classifier with {depth} blocks is none of {', '.join(ARCHITECTURES)}")


def load_generator(state: Mapping[str, Tensor]) -> Generator:
    """A generator for images, with all its convolutions."""
    _require(state, "const", "onehot_embed.weight", "w1.weight", "out_layer.weight")
    n_convs = sum(re.fullmatch(r"conv\d+\.weight", name) is not None for name in state)
    parts = {"y1": "to_scale", "y2": "to_shift"}
    rules: list[tuple[str, str]] = list(GENERATOR_NAMES)
    for source, target in [(f"conv{k + 1}", f"convs.{k}") for k in range(n_convs)] + [
        ("out_layer", "to_image")
    ]:
        rules += [(rf"{source}\.{theirs}\.(.*)", rf"{target}.{ours}.\1") for theirs, ours in parts.items()]
        rules.append((rf"{source}\.(weight|bias)", rf"{target}.conv.\1"))
    rules += [(rf"conv{k + 1}\.noise_scale", rf"noise_scales.{k}") for k in range(n_convs)]
    embedding_dim, n_classes = state["onehot_embed.weight"].shape
    style_dim, mapped = state["w1.weight"].shape
    channels = [state["const"].shape[1]] + [state[f"conv{k + 1}.weight"].shape[0] for k in range(n_convs)]
    generator = Generator(
        n_classes,
        mapped - embedding_dim,
        embedding_dim,
        style_dim,
        channels,
        state["out_layer.weight"].shape[0],
    )
    return _filled(generator, _renamed(state, rules))


def load_discriminator(state: Mapping[str, Tensor]) -> Discriminator:
    """A discriminator; the matched stage follows from its layers."""
    _require(state, "logits.onehot_project.weight", "logits.conv.weight", "logits.dense.weight")
    shapes = [
        tensor.shape for name, tensor in state.items() if re.fullmatch(r"prologue\.conv\d+\.weight", name)
    ]
    embedding, n_classes = state["logits.onehot_project.weight"].shape
    width = embedding // 2
    multiples = [shape[0] // width for shape in shapes]
    stages = [
        stage for stage, layers in LAYERS_BY_STAGE.items() if [n for n in layers if n != POOL] == multiples
    ]
    if not stages:
        raise GeniferError(
            f"a discriminator with convolutions of {[s[0] for s in shapes]} channels matches no stage"
        )
    last_side = round((state["logits.dense.weight"].shape[1] / state["logits.dense.weight"].shape[0]) ** 0.5)
    in_channels = shapes[0][1] if shapes else state["logits.conv.weight"].shape[1] - 1
    side = last_side * 2 ** LAYERS_BY_STAGE[stages[0]].count(POOL)
    rules = [*DISCRIMINATOR_NAMES]
    rules += [(rf"prologue\.conv{k + 1}\.(.*)", rf"convs.{k}.\1") for k in range(len(shapes))]
    return _filled(Discriminator(n_classes, stages[0], in_channels, side, width), _renamed(state, rules))


def _require(state: Mapping[str, Tensor], *names: str) -> None:
    missing = [name for name in names if name not in state]
    if missing:
        raise GeniferError(f"not a checkpoint of the published code: {', '.join(missing)} missing")


def _renamed(state: Mapping[str, Tensor], rules: Renaming) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in state.items():
        for pattern, replacement in rules:
            if re.fullmatch(pattern, name):
                renamed[re.sub(pattern, replacement, name)] = tensor
                break
        else:
            unknown.append(name)
    if unknown:
        raise GeniferError(f"entries without a place here: {', '.join(unknown)}")
    return renamed


def _filled(module: M, state: dict[str, Tensor]) -> M:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise GeniferError(f"the checkpoint does not fit: {error}") from error
    return module
