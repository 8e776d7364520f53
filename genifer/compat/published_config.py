"""Conversion of the published code's configs to settings of this project.

A config is read key by key, with the published code's defaults. Keys without a counterpart here are reported
by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genifer.errors import GeniferError
from genifer.methods import PAPER

METHOD = PAPER[0]
"""The method of the published code, which has the same name there."""
IMAGES_PER_CLASS = 500
"""Training images per class in CIFAR-100, the only data set of the published code."""
REQUIRED = object()

UNREAD = {
    "cl_params.method.aug_pipe_p_chpt",
    "cl_params.method.curr_generator_chpt",
    "cl_params.method.disc_coefficient",
    "cl_params.method.max_coefficient",
    "cl_params.only_init_task",
    "cl_params.pretrained_init_task",
    "misc_params.job_chain",
    "misc_params.keep_models",
    "misc_params.n_jobs",
    "model_params.activation",
    "model_params.normalized",
    "train_params.final_learning_rate",
}
"""Keys in published configs that the published code does not use."""

ELSEWHERE = {
    "cl_params.method.classifier_chpt": "give the file as --classifier",
    "cl_params.method.ema_generator_chpt": "give the file as --generator",
    "cl_params.method.d_chpt": "give the file as --discriminator",
    "cl_params.method.meta_chpt": "random states and old test figures, which are not needed",
    "cl_params.method.resume_training": "Snakemake resumes an unfinished training",
    "cl_params.method.resume_step": "Snakemake resumes an unfinished training",
    "cl_params.method.resume_chpt_prefix": "Snakemake resumes an unfinished training",
    "data_params.dataset_path": "the workflow downloads CIFAR-100; or set data.archive",
    "misc_params.ml_logging": "every training writes metrics.csv and TensorBoard events",
}
"""Keys that are not settings here, and what to do instead."""

IDLE_IN_GAN_PRETRAINING = {"cl_params.ce_coefficient"} | {
    f"cl_params.method.{key}"
    for key in (
        "coefficient",
        "feat_coefficient",
        "feat_dist_layer",
        "feat_dist_loss_type",
        "freeze_bn",
        "freeze_layers",
        "gan_augmentation",
        "gen_coefficient",
        "gen_dist_ada",
        "gen_dist_layer",
        "gen_dist_loss",
        "out_distill_loss",
        "prev_curr_ratio",
        "reinit_disc",
        "reinit_gen",
        "temperature",
    )
}
"""Keys that the published code reads in the GAN's pretraining, but cannot use on the first task."""

OPTIMIZERS = {"SGD": "sgd", "Adam": "adam", "RAdam": "radam"}
SCHEDULES = {"multistep": "multistep", "plateau": "plateau", "lambda": "linear"}


@dataclass
class Imported:
    """The settings in a config, and its keys that are not settings here.

    Attributes:
        settings: settings by block, as in a run file.
        notes: notes on differences, for the user.
        unused: keys without effect in the published code.
        elsewhere: keys in `ELSEWHERE`.
    """

    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


class PublishedConfig:
    """A published config, whose keys are taken one by one; ``left`` holds the rest by their full names."""

    def __init__(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise GeniferError(
                f"{path}: cannot be read ({error.strerror}); give the path of a config of the published code"
            ) from error
        except ValueError as error:
            raise GeniferError(f"{path}: is not valid JSON: {error}") from error
        self.path = path
        self.left: dict[str, Any] = {}
        for block in ("cl_params", "data_params", "misc_params", "model_params", "train_params"):
            if not isinstance(content, dict) or not isinstance(content.get(block), dict):
                raise GeniferError(f"{path}: is not a config of the published code: it has no block {block}")
        self._flatten(content, "")

    def _flatten(self, block: Mapping[str, Any], prefix: str) -> None:
        for key, value in block.items():
            if isinstance(value, Mapping):
                self._flatten(value, f"{prefix}{key}.")
            else:
                self.left[f"{prefix}{key}"] = value

    def take(self, key: str, default: Any = REQUIRED) -> Any:
        """Return the value of a key, or the published code's default if it is missing."""
        if key in self.left:
            return self.left.pop(key)
        if default is REQUIRED:
            raise GeniferError(f"{self.path}: {key} is missing; the published code needs it too")
        return default

    def number(self, key: str, default: Any = REQUIRED) -> Any:
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refused(key, value, "a number")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.refused(key, value, "true or false")
        return value

    def choice(self, key: str, allowed: Mapping[Any, str], default: Any = REQUIRED) -> str:
        value = self.take(key, default)
        if isinstance(value, list) or value not in allowed:
            raise self.refused(key, value, ", ".join(map(str, allowed)))
        return allowed[value]

    def stage(self, key: str, default: str = "stage0") -> int:
        return int(self.choice(key, {f"stage{n}": str(n) for n in range(7)}, default))

    def refused(self, key: str, value: object, allowed: str) -> GeniferError:
        return GeniferError(f"{self.path}: {key}: {value!r} cannot be imported; allowed: {allowed}")


def import_config(path: Path) -> Imported:
    """Read a published config for classifier pretraining, GAN pretraining or incremental training.

    Raises:
        GeniferError: the file is not such a config, or has a value without a counterpart here.
    """
    config = PublishedConfig(path)
    method = config.choice("cl_params.method.name", {"pretrain": "pretrain", METHOD: METHOD})
    incremental = "cl_params.method.classifier_chpt" in config.left
    imported = Imported(_common(config))
    tasks = imported.settings["scenario"]["tasks"]
    settings, notes = imported.settings, imported.notes
    if method == "pretrain":
        settings["pretrain_classifier"] = _training(config, tasks[0])
        config.take("cl_params.ce_coefficient", 1.0)
    elif incremental:
        n_new = tasks[1] if len(tasks) > 1 else tasks[0]
        if len(set(tasks[1:])) > 1:
            notes.append(
                f"later tasks differ in size ({tasks[1:]}): {METHOD}.steps and train_gan.steps are those of "
                "task 1 for all of them"
            )
        settings[METHOD] = _training(config, n_new) | _next_task(config, notes)
        batches = IMAGES_PER_CLASS * n_new // settings[METHOD]["batch_size"]
        _gan(config, settings, "train_gan", n_new, batches, notes)
        settings["train_gan"] |= _generator_distillation(config)
    else:
        batch_size = config.number("data_params.batch_size")
        _gan(config, settings, "pretrain_gan", tasks[0], IMAGES_PER_CLASS * tasks[0] // batch_size, notes)
        idle = [
            key for key in config.left if key.startswith("train_params.") or key in IDLE_IN_GAN_PRETRAINING
        ]
        for key in idle:
            del config.left[key]
        imported.unused += idle
    for key, value in config.left.items():
        if key in UNREAD:
            imported.unused.append(key)
        elif key in ELSEWHERE:
            imported.elsewhere.append(key)
        else:
            notes.append(f"{key}: {json.dumps(value)}: unknown key, not imported")
    imported.notes = [f"{path.name}: {note}" for note in notes]
    return imported


def _common(config: PublishedConfig) -> dict[str, Any]:
    """Read the settings that every config has: data set, class order, tasks, network, seed."""
    config.choice("data_params.dataset_name", {"CIFAR100": "CIFAR100"})
    config.choice("data_params.normalization", {"default": "default", "known": "known"}, "default")
    tasks = config.take("cl_params.num_classes_per_task")
    n_tasks = config.number("cl_params.num_tasks")
    if not isinstance(tasks, list) or n_tasks != len(tasks):
        raise config.refused("cl_params.num_tasks", n_tasks, f"the length of num_classes_per_task, {tasks}")
    order: Any = "sorted"
    by_task = config.take("cl_params.class_ids_per_task", None)
    if by_task is not None:
        if [len(ids) for ids in by_task] != tasks:
            raise config.refused("cl_params.class_ids_per_task", "...", f"lists of {tasks} classes")
        order = [class_id for ids in by_task for class_id in ids]
        if order == np.random.RandomState(1993).permutation(100).tolist():
            order = 1993
    config.choice("model_params.name", {"resnet": "resnet"})
    layers = config.choice("model_params.n_layers", {18: "18", 34: "34", 50: "50"})
    features = 2048 if layers == "50" else 512
    if config.number("model_params.latent_dim") != features:
        raise config.refused("model_params.latent_dim", "...", f"{features}, the features of resnet{layers}")
    pretrained = config.take("model_params.pretrained", False)
    last_layer = config.take("model_params.last_layer_to_load", None)
    if pretrained is not False:
        raise GeniferError(
            f"{config.path}: model_params.pretrained: {pretrained!r} cannot be imported with the config. Set "
            "it to false, import that classifier separately (--classifier), and set classifier.pretrained to "
            "its classifier.safetensors and classifier.pretrained_stages to the number of stages to load "
            f"(model_params.last_layer_to_load: {last_layer!r})"
        )
    if config.take("model_params.reinit_starting_layer", None) is not None:
        raise config.refused("model_params.reinit_starting_layer", "...", "null (there is no such setting)")
    results = str(config.take("misc_params.results_path", "imported"))
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", results.rstrip("/").rsplit("/", 1)[-1]).strip("._-")
    return {
        "run": name or "imported",
        "methods": [METHOD],
        "seeds": [config.number("misc_params.seed")],
        "scenario": {"tasks": tasks, "class_order": order},
        "classifier": {
            "architecture": f"resnet{layers}",
            "head_bias": config.flag("model_params.bias", True),
        },
    }


def _training(config: PublishedConfig, n_classes: int) -> dict[str, Any]:
    """Read the train_params: optimizer, schedule and length of a classifier's training."""
    epochs = config.number("train_params.n_epochs")
    batch_size = config.number("data_params.batch_size")
    optimizer: dict[str, Any] = {
        "name": config.choice("train_params.optimizer", OPTIMIZERS),
        "learning_rate": config.number("train_params.learning_rate"),
        "weight_decay": config.number("train_params.weight_decay", 5e-4),
        "epochs": epochs,
        "schedule": "constant",
    }
    scheduled = config.flag("train_params.use_scheduler", False)
    schedule = config.take("train_params.scheduler", "multistep")
    factor = config.number("train_params.scheduler_factor", 0.1)
    milestones = config.take("train_params.scheduler_milestones", None)
    if scheduled:
        # The published code takes any other name for the exponential schedule.
        optimizer["schedule"] = SCHEDULES.get(schedule, "exponential")
        if optimizer["schedule"] != "linear":
            optimizer["factor"] = factor
        if optimizer["schedule"] == "multistep":
            milestones = milestones or [int(share * epochs) for share in (0.3, 0.6, 0.8)]
            optimizer["milestones"] = [milestone / epochs for milestone in milestones]
    training: dict[str, Any] = {
        "steps": epochs * (IMAGES_PER_CLASS * n_classes // batch_size),
        "batch_size": batch_size,
        "optimizer": optimizer,
    }
    if not config.flag("train_params.train_feature_extractor", True):
        training["frozen_stages"] = 5
    return training


def _next_task(config: PublishedConfig, notes: list[str]) -> dict[str, Any]:
    """Read the method's settings for the classifier's training on a later task."""
    method = "cl_params.method."
    share = config.take(f"{method}prev_curr_ratio", 0.5)
    kind = str(config.take(f"{method}feat_dist_loss_type", "average"))
    images = "replayed"
    if kind.startswith(("curr", "onlycurr")):
        images = "new" if kind.startswith("curr") else "new_apart"
    elif not kind.startswith("single"):
        notes.append(f"{method}feat_dist_loss_type: {kind!r}: the published code takes it for single_L2")
    losses = {name: name for name in ("KD", "KD_sep", "KL", "MSE_prev", "L1")}
    stage = config.stage(f"{method}feat_dist_layer")
    settings = {
        "replay_fraction": share,
        "augment_replay": config.flag(f"{method}gan_augmentation", False),
        "cross_entropy_weight": config.number("cl_params.ce_coefficient", 1.0),
        "output_distillation": config.choice(f"{method}out_distill_loss", losses, "KD"),
        "distillation_weight": config.number(f"{method}coefficient", 1.0),
        "temperature": config.number(f"{method}temperature", 1.0),
        "feature_distillation": images,
        "feature_distillation_norm": "L1" if "single_L1" in kind else "L2",
        "feature_distillation_weight": config.number(f"{method}feat_coefficient", 1.0),
        "feature_distillation_stage": stage,
        "freeze_old_batch_norm": config.flag(f"{method}freeze_bn", False),
    }
    if config.flag(f"{method}freeze_layers", False):
        settings["frozen_stages"] = min(stage, 5)
    return settings


def _gan(
    config: PublishedConfig,
    settings: dict[str, Any],
    training: str,
    n_classes: int,
    classifier_batches: int,
    notes: list[str],
) -> None:
    """Add the blocks ``gan``, ``generator`` and the GAN's training to the settings."""
    method = "cl_params.method."
    batch_size = config.number(f"{method}batch_size", 128)
    epochs = config.number(f"{method}n_iter", 100)
    latent_dim = config.number(f"{method}latent_dim", 32)
    gamma = config.take(f"{method}r1_gamma", None)
    strength = config.number(f"{method}dis_augmentation_p", 0.0)
    adaptive = config.flag(f"{method}dis_augmentation_ada", False)
    ada: dict[str, Any] = {"mode": "none"}
    highest = config.number(f"{method}max_dis_augmentation_p", 0.5)
    thousands = config.number(f"{method}dis_augmentation_nk_iter", 4)
    if strength > 0 and adaptive:
        ada = {
            "mode": "adaptive",
            "target": strength,
            "max_probability": highest,
            "full_range_steps": round(1000 * thousands),
        }
    elif strength > 0:
        ada = {"mode": "fixed", "probability": strength}
        notes.append(
            f"{method}dis_augmentation_ada: false: the published code sets the fixed probability to 0 after "
            "the first task; here it stays the same"
        )
    modes = {"indirect": "indirect", "direct": "direct"}
    settings["generator"] = {"latent_dim": latent_dim, "style_dim": latent_dim}
    settings["gan"] = {
        "matching_stage": config.stage(f"{method}feat_matching_layer"),
        "matching_mode": config.choice(f"{method}matching_mode", modes, "indirect"),
        "batch_size": batch_size,
        "generator_learning_rate": config.number(f"{method}gen_lr", 0.0002),
        "discriminator_learning_rate": config.number(f"{method}disc_lr", 0.0002),
        "critic_steps": config.number(f"{method}n_critic", 1),
        "r1_gamma": 0.005 if gamma is None else gamma,
        "r1_interval": config.number(f"{method}r1_interval", 16),
        "ema_half_life": 1000 * config.number(f"{method}ema_hl", 500),
        "ada": ada,
    }
    settings[training] = {
        "steps": epochs * (IMAGES_PER_CLASS * n_classes // batch_size),
        "ema_rampup_steps": epochs / 4 * classifier_batches,
    }


def _generator_distillation(config: PublishedConfig) -> dict[str, Any]:
    method = "cl_params.method."
    return {
        "distillation_weight": config.number(f"{method}gen_coefficient", 0.0),
        # The published code takes any other name for the squared difference.
        "distillation_loss": "L1" if config.take(f"{method}gen_dist_loss", "L1") == "L1" else "L2",
        "distillation_stage": config.stage(f"{method}gen_dist_layer"),
        "distillation_grows": config.flag(f"{method}gen_dist_ada", False),
        "reinitialize_generator": config.flag(f"{method}reinit_gen", False),
        "reinitialize_discriminator": config.flag(f"{method}reinit_disc", False),
    }
