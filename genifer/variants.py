"""Variants of a run: the blocks that they may change, and checks of their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genifer.config import RunSettings, Variant
from genifer.errors import GeniferError
from genifer.nn.stages import SMALL, channels_needed
from genifer.nn.torchvision_weights import CHANNELS, SUFFIXES, WIDTH
from genifer.registry import Registry
from genifer.settings import IMAGENET_WEIGHTS

VARIANT_BLOCKS = (
    "classifier",
    "generator",
    "discriminator",
    "pretrain_classifier",
    "gan",
    "pretrain_gan",
    "train_gan",
)
"""Blocks that a variant may change besides its method's block."""


def variant_named(settings: RunSettings, label: str | None, method: str | None = None) -> Variant:
    """Return the variant of a label; without a label, a method with the run's settings.

    Raises:
        GeniferError: the run has no such variant.
    """
    if label is not None:
        known = settings.stated_variants()
        if label not in known:
            raise GeniferError(f"--variant: '{label}' is not in methods; there are: {', '.join(known)}")
        return settings.variant(label)
    assert method is not None
    return Variant(method, settings.registry.method(method), settings, {})


def refuse_other_blocks(label: str, own: Mapping[str, Any], registry: Registry) -> None:
    """Reject blocks that cannot differ between the variants of a run.

    Raises:
        ValueError: the message names the block and those that are allowed.
    """
    method = registry.method(str(own.get("method", label)))
    allowed = ("method", *VARIANT_BLOCKS, method.name)
    for name in set(method.blocks) - set(allowed):
        raise ValueError(
            f"{name} cannot differ between methods of a run, but {method.name} changes it; allowed in its "
            f"blocks: {', '.join(VARIANT_BLOCKS)}"
        )
    for name, value in own.items():
        if name not in allowed:
            raise ValueError(
                f"{name} cannot differ between variants of a run; allowed here: {', '.join(allowed)}"
            )
        if name != "method" and not isinstance(value, Mapping):
            raise ValueError(f"{name}: {value!r} is not a block of settings, such as {{{name}: {{...}}}}")


def check_variant(variant: Variant) -> None:
    """Reject a variant whose settings do not fit together.

    Raises:
        ValueError: the message names the setting, its value and what is allowed.
    """
    run, method = variant.settings, variant.method
    if variant.label in run.registry.methods and variant.label != method.name:
        raise ValueError(
            f"methods: the label '{variant.label}' of a variant of '{method.name}' is the name of another "
            "method; rename it"
        )
    if run.generator.channels is not None and method.uses_gan:
        stage = run.gan.generated_stage
        needed = channels_needed(run.data.image_size, stage, run.classifier.stem)
        if len(run.generator.channels) != needed:
            what = f"features of stage {stage}" if stage else "images"
            raise ValueError(
                f"generator.channels has {len(run.generator.channels)} entries; to generate {what} with "
                f"data.image_size: {run.data.image_size} it needs {needed}; null uses the default"
            )
    _check_pretrained(run)
    start = run.start
    if method.first_task == "own" and start.classifier is not None:
        raise ValueError(
            f"start.classifier: {method.name} trains the first task itself, so no checkpoint can replace "
            f"that; set start.classifier: null, or remove {variant.label} from methods"
        )
    if method.uses_gan:
        _check_gan(run)
    method.check(variant.block, run)


def _check_pretrained(run: RunSettings) -> None:
    """Reject torchvision's weights for a network that they do not fit."""
    network, path = run.classifier, run.classifier.pretrained
    if path is None or (path != IMAGENET_WEIGHTS and path.suffix not in SUFFIXES):
        return
    for name, value, needed in (
        ("classifier.width", network.width, WIDTH),
        ("data.channels", run.data.channels, CHANNELS),
    ):
        if value != needed:
            raise ValueError(
                f"classifier.pretrained: {path}: torchvision's weights need {name}: {needed}, not {value}; "
                "change it, or set classifier.pretrained: null"
            )
    if network.stem == SMALL and network.pretrained_stages == 1:
        raise ValueError(
            f"classifier.pretrained_stages: 1 uses nothing from classifier.pretrained: {path}, because "
            "torchvision's stem does not fit classifier.stem: small; set 2 to 5, or classifier.stem: imagenet"
        )


def _check_gan(run: RunSettings) -> None:
    start, entry = run.start, run.gan.generated_stage
    if start.task > 0 and start.gan is None and start.task < len(run.scenario.tasks) - 1:
        raise ValueError(
            f"start.gan is missing: task {start.task + 1} replays samples of the GAN of start.task: "
            f"{start.task}; set it to that GAN's checkpoint"
        )
    if 0 < run.train_gan.distillation_stage < entry:
        raise ValueError(
            f"train_gan.distillation_stage: {run.train_gan.distillation_stage} comes before stage "
            f"{entry}, whose features the generator produces (gan.matching_mode: direct); set 0, or "
            f"{entry} or more"
        )
