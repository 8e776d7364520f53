"""Import of a run of the published code: configs and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from torch import Tensor

from genifer.compat.checkpoints import load_classifier, load_discriminator, load_generator, read_state
from genifer.compat.published_config import ELSEWHERE, Imported, import_config
from genifer.config import RunSettings, plain
from genifer.errors import GeniferError
from genifer.layout.names import CLASSIFIER, GAN
from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator
from genifer.run_file import parse_settings
from genifer.runtime.files import atomic_write
from genifer.training.checkpoints import save_classifier, save_gan

N = TypeVar("N", Classifier, Generator, Discriminator)

RUN_FILE = "run.yaml"


def import_reference(
    configs: Sequence[Path],
    classifier: Path | None,
    generator: Path | None,
    discriminator: Path | None,
    gan_task: int | None,
    output: Path,
) -> list[str]:
    """Import configs and checkpoints; write a run file and checkpoints only if everything fits.

    Args:
        configs: configs of one run.
        classifier, generator, discriminator: checkpoints; None for those not given.
        gan_task: the last task that the GAN was trained on; None means the classifier's.
        output: folder for the run file and the checkpoints.

    Returns:
        Notes about keys and files for the user.

    Raises:
        GeniferError: a config or checkpoint cannot be read, has no counterpart here, or is from another run.
    """
    settings, notes = _merged([(path, import_config(path)) for path in configs])
    tasks = settings["scenario"]["tasks"]
    network, task = None, None
    if classifier is not None:
        network = _load(classifier, load_classifier)
        task = _task_learned(classifier, network, tasks)
        gan_task = task if gan_task is None else gan_task
    gan = _load_gan(generator, discriminator, gan_task, settings)
    if task is not None:
        complete = gan is not None and gan_task == task
        if complete or task == 0:
            settings["start"] = {"classifier": str(output / CLASSIFIER)}
        else:
            notes.append(
                f"the classifier has learned task {task}, but there is no GAN for it: train one with genifer "
                "train-gan (--old-gan is the previous task's GAN), then set start.task, start.classifier "
                "and start.gan"
            )
        if complete:
            settings["start"] |= {"task": task, "gan": str(output / GAN)}
    parsed = parse_settings(settings, source=", ".join(path.name for path in configs))

    if network is not None and task is not None:
        mean, std = parsed.data.mean, parsed.data.std
        assert isinstance(mean, list)
        assert isinstance(std, list)
        save_classifier(output / CLASSIFIER, network, task, mean, std)
    if gan is not None and gan_task is not None:
        save_gan(output / GAN, *gan, sum(tasks[: gan_task + 1]), ada_probability=0.0)
    with atomic_write(output / RUN_FILE) as temporary:
        temporary.write_text(_run_file(parsed, configs, notes), encoding="utf-8")
    return notes


def _merged(imported: Sequence[tuple[Path, Imported]]) -> tuple[dict[str, Any], list[str]]:
    """Merge the settings of several configs of one run; blocks that they share must agree."""
    settings: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    notes: list[str] = []
    for path, one in imported:
        notes += one.notes
        if one.unused:
            notes.append(f"{path.name}: no effect in the published code: {', '.join(one.unused)}")
        for block, values in one.settings.items():
            if block != "run" and block in settings and settings[block] != values:
                raise GeniferError(
                    f"{origin[block]} and {path} differ in {block} ({settings[block]} and {values}); make "
                    "them agree, or import them separately"
                )
            settings[block] = values
            origin.setdefault(block, path)
    elsewhere = dict.fromkeys(key for _, one in imported for key in one.elsewhere)
    return settings, notes + [f"{key}: {ELSEWHERE[key]}" for key in elsewhere]


def _task_learned(path: Path, network: Classifier, tasks: Sequence[int]) -> int:
    """Return the last task that a classifier has learned, from its number of classes."""
    for task in range(len(tasks)):
        if sum(tasks[: task + 1]) == network.n_classes:
            return task
    raise GeniferError(
        f"{path}: knows {network.n_classes} classes, but with num_classes_per_task {tasks} no task ends "
        "with that many; give the config of its run"
    )


def _load_gan(
    generator_path: Path | None,
    discriminator_path: Path | None,
    gan_task: int | None,
    settings: Mapping[str, Any],
) -> tuple[Generator, Discriminator] | None:
    """Load both halves of a GAN, which must fit the settings; return None if none is given."""
    if generator_path is None and discriminator_path is None:
        return None
    if generator_path is None or discriminator_path is None:
        raise GeniferError("give both --generator and --discriminator: the training of a GAN needs both")
    tasks = settings["scenario"]["tasks"]
    if gan_task is None:
        raise GeniferError("give --gan-task, the last task that the GAN was trained on, or --classifier")
    if not 0 <= gan_task < len(tasks):
        raise GeniferError(f"--gan-task: {gan_task} does not exist; allowed: 0 to {len(tasks) - 1}")
    generator = _load(generator_path, load_generator)
    discriminator = _load(discriminator_path, load_discriminator)
    for path, network in ((generator_path, generator), (discriminator_path, discriminator)):
        if network.description["n_classes"] != sum(tasks):
            raise GeniferError(
                f"{path}: was made for {network.description['n_classes']} classes, but the config has "
                f"{sum(tasks)}; give the config of its run"
            )
    stage = discriminator.description["stage"]
    matched = settings.get("gan", {}).get("matching_stage", stage)
    if stage != matched:
        raise GeniferError(
            f"{discriminator_path}: matches stage {stage}, but the config says feat_matching_layer: "
            f"stage{matched}; give the config of its run"
        )
    return generator, discriminator


def _load(path: Path, load: Callable[[Mapping[str, Tensor]], N]) -> N:
    """Load a checkpoint; messages begin with the file's name."""
    try:
        return load(read_state(path))
    except GeniferError as error:
        message = str(error)
        raise GeniferError(message if message.startswith(str(path)) else f"{path}: {message}") from None


def _run_file(settings: RunSettings, configs: Sequence[Path], notes: Sequence[str]) -> str:
    """Return the settings that differ from the defaults as YAML, below comments on what was not imported."""
    changed = _difference(plain(settings), plain(parse_settings({}, source="defaults")))
    header = [f"# Imported from {', '.join(path.name for path in configs)} (published code)."]
    header += ["# All other settings have the defaults of config/config.yaml."]
    if notes:
        header += ["#", "# Not imported, or imported differently:", *(f"# - {note}" for note in notes)]
    return "\n".join(header) + "\n" + yaml.safe_dump(changed, sort_keys=False, default_flow_style=None)


def _difference(value: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    changed = {}
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            below = _difference(entry, default[key])
            if below:
                changed[key] = below
        elif entry != default[key]:
            changed[key] = entry
    return changed
