"""A few steps of trainings on random images, by one process or by two that share each batch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genifer.config import RunSettings
from genifer.methods import Method
from genifer.registry import registry
from genifer.runtime import parallel
from genifer.runtime.processes import RENDEZVOUS
from genifer.settings import TrainingSettings
from genifer.training.job import Job
from genifer.training.untrained import untrained_first_task, untrained_gan, untrained_task
from support.chain import settings_with
from support.commands import ROOT, merged

STEPS = 4
CPU = torch.device("cpu")

# Rounding errors grow from step to step, with the learning rate of the paper tenfold.
SGD = {"batch_size": 16, "optimizer": {"name": "sgd", "learning_rate": 1e-4, "schedule": "plateau"}}
METHODS: dict[str, type[Method]] = {
    name: method
    for name, method in registry().methods.items()
    if issubclass(method.Settings, TrainingSettings)
}
CHANGES: dict[str, Any] = {
    "pretrain_classifier": SGD,
    **dict.fromkeys(METHODS, SGD),
    "gan": {
        "ada": {"mode": "fixed", "probability": 0.3},
        "r1_interval": 2,
    },
    # L1 of generators that are still the same has the sign of rounding errors for a gradient.
    "train_gan": {"distillation_stage": 2, "distillation_loss": "L2"},
}
SHARED_PASS = {
    "gan": {
        "ada": {"mode": "adaptive", "probability": 0.3, "interval": 1, "full_range_steps": 20},
        "share_generated": True,
        "feature_means_weight": 1.0,
        "guidance_weight": 0.5,
    }
}
# More samples than the minibatch deviation takes together: 3 groups of 32 in each half.
GROUPS = {"gan": {"batch_size": 96, "ada": {"mode": "none"}, "r1_interval": 1}}

Result = dict[str, Tensor]
"""Weights and scalars after the steps."""


def job(name: str, task: int) -> Job:
    return Job(name, 0, task, Path(), CPU, "fp32", block=name.removeprefix("train_"))


def gan(task: int, changes: dict[str, Any]) -> Callable[[], Result]:
    def steps() -> Result:
        settings = settings_with(**merged(CHANGES, changes))
        training = untrained_gan(settings, job("train_gan" if task else "pretrain_gan", task))
        # Adam makes steps of rounding errors where gradients are zero.
        training.generator_optimizer = torch.optim.SGD(training.generator.parameters(), 1e-3)
        training.discriminator_optimizer = torch.optim.SGD(training.discriminator.parameters(), 1e-3)
        scalars: dict[str, Tensor] = {}
        for step in range(STEPS):
            scalars |= training.step(training.draw_batch(), step)
        weights = {f"g.{name}": weight for name, weight in training.g_ema.state_dict().items()}
        weights |= {f"d.{name}": weight for name, weight in training.discriminator.state_dict().items()}
        return weights | scalars

    return steps


def classifier(method: type[Method] | None, changes: dict[str, Any]) -> Callable[[], Result]:
    def steps() -> Result:
        training = (
            untrained_first_task(run_settings(changes), job("pretrain_classifier", 0))
            if method is None
            else untrained_task(run_settings(changes, method), method, job(f"train_{method.name}", 1))
        )
        scalars: dict[str, Tensor] = {}
        for _ in range(STEPS):
            scalars = training.step()
        return training.learner.classifier.state_dict() | scalars

    return steps


def run_settings(changes: dict[str, Any], method: type[Method] | None = None) -> RunSettings:
    if method is not None:
        changes = merged(changes, {"methods": [method.name], **method.blocks})
    return settings_with(**merged(CHANGES, changes))


CASES: dict[str, Callable[[], Result]] = {
    "first classifier": classifier(None, {}),
    "first GAN": gan(0, {}),
    "later GAN": gan(1, {}),
    "later GAN, adaptive augmentation, shared pass": gan(1, SHARED_PASS),
    "first GAN, several groups": gan(0, GROUPS),
    **{name: classifier(method, {}) for name, method in METHODS.items()},
    "genifer, candidates": classifier(METHODS["genifer"], {"genifer": {"replay_candidates": 3}}),
}


def plain(result: Result) -> Result:
    return {name: tensor.detach().clone() for name, tensor in result.items()}


def by_two(folder: Path) -> dict[str, dict[str, Result]]:
    """The results of all cases, for each of two processes."""
    processes = []
    for rank in range(2):
        several = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        environment = os.environ | several | {RENDEZVOUS: str(folder / "rendezvous"), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        command = [sys.executable, "-m", "support.two_processes", folder / f"{rank}.pt"]
        processes.append(subprocess.Popen(command, env=environment))
    assert [process.wait(240) for process in processes] == [0, 0]
    return {f"process {rank}": torch.load(folder / f"{rank}.pt") for rank in range(2)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with parallel.joined(2, CPU):
        torch.save({name: plain(steps()) for name, steps in CASES.items()}, sys.argv[1])
