"""A few steps of trainings on random images, by one process or by two that share each batch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genifer.config import RunSettings
from genifer.methods import Method
from genifer.nn.discriminator import Discriminator
from genifer.nn.losses import r1_penalty
from genifer.registry import registry
from genifer.run_file import parse_settings
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


def penalized_discriminator() -> Result:
    """Gradients of a discriminator's loss with R1, most of which comes through the minibatch deviation."""
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        discriminator = Discriminator(n_classes=4, stage=5, in_channels=4, side=2, width=4)
    with torch.no_grad():
        discriminator.last_conv.weight[:, -1] *= 100
    features = torch.randn(192, 4, 2, 2, generator=rng)
    labels = torch.randint(4, (192,), generator=rng)
    part = parallel.own(features).requires_grad_()
    logits = discriminator(part, parallel.own(labels), parts=2)
    loss = logits.square().mean() + r1_penalty(logits, part, 1.0)
    loss.backward()
    parallel.average_gradients(discriminator.parameters())
    assert part.grad is not None
    gradients = {"features": parallel.gathered(part.grad) / parallel.size()}
    for name, weight in discriminator.named_parameters():
        assert weight.grad is not None
        gradients[name] = weight.grad
    return {name: gradient / gradient.norm() for name, gradient in gradients.items()}


CASES: dict[str, Callable[[], Result]] = {
    "discriminator with R1": penalized_discriminator,
    "first classifier": classifier(None, {}),
    "first GAN": gan(0, {}),
    "later GAN": gan(1, {}),
    "later GAN, adaptive augmentation, shared pass": gan(1, SHARED_PASS),
    "first GAN, several groups": gan(0, GROUPS),
    **{name: classifier(method, {}) for name, method in METHODS.items()},
    "genifer, candidates": classifier(METHODS["genifer"], {"genifer": {"replay_candidates": 3}}),
}


def papers(name: str) -> Callable[[], Result]:
    """Steps of a training of the paper's sizes, and how long all but the first took."""

    def steps() -> Result:
        settings = parse_settings({"runtime": {"precision": "fp32"}}, "the paper's")
        step: Callable[[int], dict[str, Tensor]]
        if name.endswith("gan"):
            of_gan = untrained_gan(settings, job(name, int(name == "train_gan")))
            networks: list[nn.Module] = [of_gan.generator, of_gan.discriminator]
            step = lambda number: of_gan.step(of_gan.draw_batch(), number)  # noqa: E731
        else:
            of_classifier = (
                untrained_task(settings, METHODS["genifer"], job(name, 1))
                if name == "train_genifer"
                else untrained_first_task(settings, job(name, 0))
            )
            networks = [of_classifier.learner.classifier]
            step = lambda _: of_classifier.step()  # noqa: E731

        def weights(when: str) -> Result:
            parameters = [weight.flatten() for network in networks for weight in network.parameters()]
            return plain({f"weights {when}": torch.cat(parameters)})

        result, seconds, waited = weights("before"), [], []
        for number in range(PAPER_STEPS):
            began, COMMUNICATION.seconds = time.perf_counter(), 0.0
            scalars = step(number)
            seconds.append(time.perf_counter() - began)
            waited.append(COMMUNICATION.seconds)
            if number == 0:
                result |= weights("after one step") | scalars
        times = {"seconds": torch.tensor(seconds[1:]), "communication": torch.tensor(waited[1:])}
        return result | weights("after all steps") | times

    return steps


PAPER_STEPS = int(os.environ.get("GENIFER_PAPER_STEPS", "2"))
PAPER = {name: papers(name) for name in ("pretrain_classifier", "train_genifer", "pretrain_gan", "train_gan")}


class Communication:
    """Seconds in which this process communicates, or waits for the other one to do so."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.original = parallel._peers_needed

    @contextmanager
    def measured(self) -> Iterator[None]:
        began = time.perf_counter()
        with self.original():
            yield
        self.seconds += time.perf_counter() - began


COMMUNICATION = Communication()


def plain(result: Result) -> Result:
    return {name: tensor.detach().clone() for name, tensor in result.items()}


def by_two(folder: Path, cases: str) -> dict[str, dict[str, Result]]:
    """The results of ``CASES`` or ``PAPER``, for each of two processes."""
    processes = []
    for rank in range(2):
        several = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        environment = os.environ | several | {RENDEZVOUS: str(folder / "rendezvous"), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        command = [sys.executable, "-m", "support.two_processes", cases, folder / f"{rank}.pt"]
        processes.append(subprocess.Popen(command, env=environment))
    assert [process.wait(900) for process in processes] == [0, 0]
    return {f"process {rank}": torch.load(folder / f"{rank}.pt") for rank in range(2)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    parallel._peers_needed = COMMUNICATION.measured  # type: ignore[assignment]
    cases, output = sys.argv[1:]
    with parallel.joined(2, CPU):
        torch.save({name: plain(steps()) for name, steps in globals()[cases].items()}, output)
