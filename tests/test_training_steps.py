"""What makes steps fast: they compile to one graph a loss, and never wait for the device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import TINY, merged, write_run_file
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from genifer.config import RunSettings, parse_settings
from genifer.data.batches import Normalization
from genifer.runtime.device import pick_compile, pick_precision
from genifer.training.gan import GanStep, gan_batches, gan_data
from genifer.training.genifer import ReplayTraining
from genifer.training.stage import Stage
from genifer.training.supervised import ImageTraining
from genifer.untrained import new_classifier, new_gan_step, random_data

CPU = torch.device("cpu")
# Adam's fused form counts its steps on the device; RAdam reads a counter that lies on the CPU.
# Steps are small, so that rounding errors stay small.
ADAM = {"optimizer": {"name": "adam", "learning_rate": 1e-4}}
CHANGES: dict[str, Any] = {
    "gan": {
        "ada": {"mode": "adaptive", "probability": 0.2, "interval": 1},
        "r1_interval": 2,
        "generator_learning_rate": 1e-4,
        "discriminator_learning_rate": 1e-4,
    },
    # L1 of generators that are still the same has the sign of rounding errors for a gradient.
    "train_gan": {"distillation_stage": 2, "distillation_loss": "L2"},
    "genifer": ADAM,
    "pretrain_classifier": ADAM,
}

Scalars = dict[str, Tensor]
Training = Callable[[], Scalars]


def settings_of(**changes: Any) -> RunSettings:
    return parse_settings(merged(merged(TINY, CHANGES), changes), "test")


def gan_training(settings: RunSettings, task: int, compiled: bool) -> Training:
    stage = Stage("train_gan" if task else "pretrain_gan", 0, task, Path(), CPU, "fp32", compile=compiled)
    torch.manual_seed(0)
    gan, data = new_gan_step(settings, stage)
    normalize = Normalization(data.mean, data.std)
    batches = gan_batches(gan, gan_data(gan, data, stage.start()), normalize)
    done = 0

    def step() -> Scalars:
        nonlocal done
        done += 1
        batch = next(batches)
        return gan.discriminator_step(batch, done) | gan.generator_step(batch)

    return step


def classifier_training(settings: RunSettings, task: int, compiled: bool) -> Training:
    name = "train_genifer" if task else "pretrain_classifier"
    stage = Stage(name, 0, task, Path(), CPU, "fp32", compile=compiled)
    torch.manual_seed(0)
    data = random_data(settings, task, CPU)
    rng = stage.start()
    classifier = new_classifier(settings, CPU, data.n_old + data.n_new)
    if task == 0:
        return ImageTraining(stage, settings.pretrain_classifier, classifier, data, rng).step
    old_classifier = new_classifier(settings, CPU, data.n_old)
    gan: GanStep = new_gan_step(settings, stage)[0]
    generator = gan.generator.eval().requires_grad_(False)
    normalize = Normalization(data.mean, data.std)
    return ReplayTraining(
        stage, settings.genifer, classifier, old_classifier, generator, data, normalize, rng
    ).step


TRAININGS = pytest.mark.parametrize(
    ("training", "task", "graphs"),
    [
        pytest.param(gan_training, 0, 3, id="GAN, first task"),
        pytest.param(gan_training, 1, 3, id="GAN, later task"),
        pytest.param(classifier_training, 0, 1, id="classifier, first task"),
        pytest.param(classifier_training, 1, 2, id="classifier, later task"),
    ],
)


@TRAININGS
def test_losses_compile_without_a_break(
    training: Callable[[RunSettings, int, bool], Training],
    task: int,
    graphs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    settings = settings_of()
    as_is, compiled = training(settings, task, False), training(settings, task, True)
    for _ in range(4):
        expected, found = as_is(), compiled()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-4), name
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == graphs


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


@TRAININGS
@pytest.mark.usefixtures("graphs")
def test_steps_wait_for_nothing(training: Callable[[RunSettings, int, bool], Training], task: int) -> None:
    step = training(settings_of(), task, False)
    step()  # filters and moments are made
    with Waits() as waits:
        for _ in range(3):
            step()
    assert waits.found == []
    with Waits() as waits:
        float(torch.ones(()))
    assert waits.found == ["_local_scalar_dense"]


def test_without_a_compiler_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> Any:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=missing))
    torch._dynamo.reset()
    as_is, compiled = (gan_training(settings_of(), 0, on) for on in (False, True))
    with caplog.at_level(logging.WARNING):
        assert compiled() == as_is()
        assert compiled() == as_is()
    assert "runtime.compile: off" in caplog.text


@pytest.mark.slow
def test_compiled_training_by_hand(genifer: Any, tmp_path: Path) -> None:
    slow = {"steps": 20, "optimizer": {"learning_rate": 1e-4}}  # rounding errors grow with large steps
    run_file = write_run_file(tmp_path, pretrain_classifier=slow, runtime={"device": "cpu", "compile": "on"})
    data = tmp_path / "data"
    assert genifer("prepare-data", "--config", run_file, "--output", data).returncode == 0
    options = ["--config", run_file, "--data", data / "task_0_train.safetensors"]
    losses = []
    for compiled in ("on", "off"):
        folder = tmp_path / compiled
        done = genifer("pretrain-classifier", *options, "--output", folder, "--compile", compiled)
        assert done.returncode == 0, done.stderr
        assert "cannot compile" not in done.stderr
        losses.append([float(row.split(",")[-2]) for row in (folder / "metrics.csv").read_text().split()[1:]])
    assert losses[0] == pytest.approx(losses[1], rel=0.05, abs=0.02)


def test_what_auto_picks(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert pick_precision("auto", CPU) == "bf16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False})
    assert pick_precision("auto", CPU) == "fp32"
    assert pick_precision("auto", gpu) == "tf32"
    assert pick_precision("bf16", gpu) == "bf16"
    assert pick_compile("auto", gpu, 80_000, deterministic=False)
    assert not pick_compile("auto", gpu, 80_000, deterministic=True)
    assert not pick_compile("auto", gpu, 500, deterministic=False)
    assert not pick_compile("auto", CPU, 80_000, deterministic=False)
    assert pick_compile("on", CPU, 1, deterministic=True)
    assert not pick_compile("off", gpu, 80_000, deterministic=False)
