"""What makes steps fast: each of their losses compiles to one graph, and they never wait for the device."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from support.chain import Chain, settings_with
from support.commands import ROOT, merged, write_run_file
from support.device import DEVICE, ON_GPU
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from genifer.config import RunSettings, registry_of
from genifer.methods import Method
from genifer.settings import TrainingSettings
from genifer.training.job import Job
from genifer.training.untrained import untrained_first_task, untrained_gan, untrained_task

TOYS = ROOT / "tests" / "support" / "toy_methods.py"
METHODS = {
    name: method
    for name, method in registry_of([TOYS]).methods.items()
    if issubclass(method.Settings, TrainingSettings)
}
# Adam's fused form counts its steps on the device; RAdam reads a counter that lies on the CPU.
# Steps are small, so that rounding errors stay small.
ADAM = {"optimizer": {"name": "adam", "learning_rate": 1e-4}}
CHANGES: dict[str, Any] = {
    "plugins": [str(TOYS)],
    "gan": {
        "ada": {"mode": "adaptive", "probability": 0.2, "interval": 1},
        "r1_interval": 2,
        "generator_learning_rate": 1e-4,
        "discriminator_learning_rate": 1e-4,
    },
    # L1 of generators that are still the same has the sign of rounding errors for a gradient.
    "train_gan": {"distillation_stage": 2, "distillation_loss": "L2"},
    "pretrain_classifier": ADAM,
    **dict.fromkeys(METHODS, ADAM),
}

Step = Callable[[], dict[str, Tensor]]
NewTraining = Callable[[RunSettings, bool], Step]


def job(name: str, task: int, compiled: bool) -> Job:
    return Job(name, 0, task, Path(), DEVICE, "fp32", compile=compiled)


def gan(task: int, *, shared: bool = False) -> NewTraining:
    def new(settings: RunSettings, compiled: bool) -> Step:
        of_gan = settings.gan.model_copy(update={"share_generated": shared})
        settings = settings.model_copy(update={"gan": of_gan})
        training = untrained_gan(settings, job("train_gan" if task else "pretrain_gan", task, compiled))
        done = iter(range(100))
        return lambda: training.step(training.draw_batch(), next(done))

    return new


def first_task(settings: RunSettings, compiled: bool) -> Step:
    return untrained_first_task(settings, job("pretrain_classifier", 0, compiled)).step


def later_task(method: str) -> NewTraining:
    def new(settings: RunSettings, compiled: bool) -> Step:
        if blocks := METHODS[method].blocks:
            settings = settings_with(**merged(CHANGES, {"methods": [method], **blocks}))
        return untrained_task(settings, METHODS[method], job(f"train_{method}", 1, compiled)).step

    return new


def trainings(methods: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise over the GAN's trainings, the first task's and those of methods."""
    return pytest.mark.parametrize(
        "new_training",
        [
            pytest.param(gan(0), id="GAN, first task"),
            pytest.param(gan(1, shared=True), id="GAN, later task, shared pass"),
            pytest.param(gan(1), id="GAN, later task"),
            pytest.param(first_task, id="classifier, first task"),
            *(pytest.param(later_task(method), id=method) for method in methods),
        ],
    )


WITH_LOSSES = [
    name for name, cls in METHODS.items() if cls.source_hash is None or cls.losses is not Method.losses
]
"""Methods whose losses are worth the time to compile."""


@trainings(WITH_LOSSES)
def test_losses_compile_without_a_break(new_training: NewTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each function that is compiled gives one graph, and the same numbers."""
    compile_, functions = torch.compile, []

    def noted(function: Any, **options: Any) -> Any:
        functions.append(function)
        return compile_(function, backend="inductor" if ON_GPU else "eager", **options)

    monkeypatch.setattr(torch, "compile", noted)
    torch._dynamo.reset()
    counters.clear()
    settings = settings_with(**CHANGES)
    as_is, compiled = new_training(settings, False), new_training(settings, True)
    for _ in range(4):
        expected, found = as_is(), compiled()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-4), name
    assert functions
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == len(functions)


class Waits(TorchDispatchMode):
    """Counts what a GPU would be waited for: values that Python asks for, and tensors made from Python's."""

    ASKS = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "equal",
        "is_nonzero",
        "_unique2",
        "lift_fresh",
    )

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in self.ASKS or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@trainings(METHODS)
def test_steps_wait_for_nothing(new_training: NewTraining) -> None:
    step = new_training(settings_with(**CHANGES), False)
    step()  # filters and moments are made
    with Waits() as waits, no_wait_for_a_gpu():
        for _ in range(3):
            step()
    assert waits.found == []


@contextmanager
def no_wait_for_a_gpu() -> Iterator[None]:
    """Let PyTorch raise an error where it would wait for a GPU."""
    if ON_GPU:
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if ON_GPU:
            torch.cuda.set_sync_debug_mode("default")


def test_a_wait_is_noticed() -> None:
    with Waits() as waits:
        float(torch.ones(()))
    assert waits.found == ["_local_scalar_dense"]


@pytest.mark.slow
def test_a_compiled_training_gives_the_same_losses(
    genifer: Callable[..., subprocess.CompletedProcess[str]], chain: Chain, tmp_path: Path
) -> None:
    slow = {"steps": 20, "optimizer": {"learning_rate": 1e-4}}  # rounding errors grow with large steps
    run_file = write_run_file(
        tmp_path, pretrain_classifier=slow, runtime={"device": DEVICE.type, "trackers": []}
    )
    losses = []
    for compile_ in ("on", "off"):
        options = ["--config", run_file, "--runtime", f"{{compile: {compile_}}}", "--output", compile_]
        done = genifer("pretrain-classifier", *options, chain.data(0))
        assert done.returncode == 0, done.stderr
        assert "cannot compile" not in done.stderr
        rows = (tmp_path / compile_ / "metrics.csv").read_text().split()[1:]
        losses.append([float(row.split(",")[-2]) for row in rows])
    assert losses[0] == pytest.approx(losses[1], rel=0.05, abs=0.02)
