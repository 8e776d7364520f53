"""Configs and checkpoints as the published code writes them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from genifer.compat.checkpoints import CLASSIFIER_NAMES, DISCRIMINATOR_NAMES, GENERATOR_NAMES
from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator

TASKS = [50, 10, 10, 10, 10, 10]
ORDER = np.random.RandomState(1993).permutation(100).tolist()
SPLIT = np.split(np.array(ORDER), np.cumsum(TASKS)[:-1])


def published(method: dict[str, Any], train: dict[str, Any], ce_coefficient: float) -> dict[str, Any]:
    """A config in the published layout, with the published CIFAR-100 values."""
    return {
        "cl_params": {
            "ce_coefficient": ce_coefficient,
            "class_ids_per_task": [ids.tolist() for ids in SPLIT],
            "num_classes_per_task": TASKS,
            "num_tasks": 6,
            "method": method,
        },
        "data_params": {
            "batch_size": 32,
            "dataset_name": "CIFAR100",
            "dataset_path": "/data",
            "normalization": "default",
        },
        "misc_params": {"results_path": "/results/CIFAR100_T10", "seed": 1212, "n_jobs": 1},
        "model_params": {
            "name": "resnet",
            "n_layers": 18,
            "latent_dim": 512,
            "bias": True,
            "pretrained": False,
        },
        "train_params": {
            "n_epochs": 100,
            "use_scheduler": True,
            "scheduler": "multistep",
            "scheduler_factor": 0.2,
            "scheduler_milestones": [30, 60, 80],
            "train_feature_extractor": True,
        }
        | train,
    }


GAN = {
    "name": "genifer",
    "batch_size": 64,
    "latent_dim": 512,
    "matching_mode": "indirect",
    "feat_matching_layer": "stage4",
    "gen_lr": 0.0025,
    "disc_lr": 0.0025,
    "n_critic": 1,
    "r1_gamma": 0.5,
    "r1_interval": 16,
    "dis_augmentation_ada": True,
    "dis_augmentation_p": 0.5,
    "max_dis_augmentation_p": 0.5,
    "dis_augmentation_nk_iter": 4,
    "gan_augmentation": True,
    "gen_coefficient": 10,
    "gen_dist_loss": "L1",
    "prev_curr_ratio": 0.5,
}
CONFIGS = {
    "classifier": published({"name": "pretrain"}, {"learning_rate": 0.1, "optimizer": "SGD"}, 1.0),
    "gan": published(GAN | {"n_iter": 642}, {"learning_rate": 0.1, "optimizer": "SGD"}, 1.0),
    "incremental": published(
        GAN
        | {
            "n_iter": 1026,
            "classifier_chpt": "a.pt",
            "coefficient": 0.98,
            "feat_coefficient": 1.0,
            "feat_dist_layer": "stage4",
            "feat_dist_loss_type": "single_L2",
            "freeze_bn": False,
            "gen_dist_ada": True,
            "gen_dist_layer": "stage0",
            "out_distill_loss": "KD_sep",
            "temperature": 1.0,
            "max_coefficient": 100.0,
        },
        {"learning_rate": 0.0001, "optimizer": "RAdam"},
        0.02,
    ),
}


def write_published_config(folder: Path, name: str, **changes: Any) -> Path:
    """Write one of `CONFIGS` with changed keys (block__key or method__key)."""
    config = copy.deepcopy(CONFIGS[name])
    for key, value in changes.items():
        block, _, entry = key.partition("__")
        target = config["cl_params"]["method"] if block == "method" else config[block]
        target[entry] = value
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    return path


def small_networks() -> tuple[Classifier, Generator, Discriminator]:
    classifier = Classifier("resnet18", 4, 3, 50)
    return classifier, Generator(100, 8, 4, 8, [8] * 8, 3), Discriminator(100, 4, 16, 8, 4)


def published_states() -> dict[str, dict[str, Tensor]]:
    """State dicts of small networks under the published names."""
    classifier, generator, discriminator = small_networks()
    states = {}
    for name, module, names in (
        ("classifier", classifier, CLASSIFIER_NAMES),
        ("generator", generator, GENERATOR_NAMES),
        ("discriminator", discriminator, DISCRIMINATOR_NAMES),
    ):
        state: dict[str, Tensor] = {}
        for ours, tensor in module.state_dict().items():
            theirs = ours
            for beginning, replacement in names.items():
                if ours.startswith(beginning):
                    theirs = replacement + ours.removeprefix(beginning)
                    break
            state[theirs.replace(".shortcut.", ".downsample.")] = tensor
        states[name] = state
    classes = states["classifier"]
    for part in ("weight", "bias"):
        classes[f"curr_readout.{part}"] = classes.pop(f"head.{part}")
        classes[f"prev_readout.{part}"] = classes[f"curr_readout.{part}"][:0]
    return states
