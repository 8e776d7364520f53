"""Trainings that go wrong say so, and leave what was sound."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands import ROOT, TINY, call, merged

from genifer.config import parse_settings
from genifer.data.batches import Normalization, load_task_data
from genifer.training.collapse import Collapse, Diversity
from genifer.training.stage import Stage
from genifer.untrained import new_gan_step

STEPS = 300


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared images and a trained classifier."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "run.yaml").write_text(yaml.safe_dump(TINY))
    for command in (
        ["prepare-data", "--output", "data"],
        ["pretrain-classifier", "--data", "data/task_0_train.safetensors", "--output", "classifier"],
    ):
        done = call(["genifer", *command, "--config", "run.yaml"], folder)
        assert done.returncode == 0, done.stderr
    return folder


def train(data: Path, stage: str, output: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    (data / f"{output}.yaml").write_text(yaml.safe_dump(merged(TINY, changes)))
    classifier = ["--classifier", "classifier/classifier.safetensors"] if stage == "pretrain-gan" else []
    images = ["--data", "data/task_0_train.safetensors"]
    return call(
        ["genifer", stage, "--config", f"{output}.yaml", *images, *classifier, "--output", output], data
    )


def blown_up(data: Path, **runtime: Any) -> str:
    done = train(
        data,
        "pretrain-classifier",
        "blown_up",
        pretrain_classifier={"steps": STEPS, "optimizer": {"learning_rate": 1e9}},
        runtime=runtime,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (data / "blown_up" / "classifier.safetensors").exists()
    return done.stderr


def test_a_loss_that_is_not_finite(data: Path) -> None:
    text = blown_up(data)
    found = re.search(
        r"\[pretrain_classifier, task 0, seed 0\] went wrong at step (\d+): loss is (nan|inf)", text
    )
    assert found is not None, text
    assert len(re.findall(r"^  step \d+: loss ", text, re.MULTILINE)) == min(int(found[1]), 5)
    assert "lower pretrain_classifier.optimizer.learning_rate" in text


@pytest.mark.slow
def test_weights_that_are_not_finite(data: Path) -> None:
    """They are found when a resume file is due, and the one before stays."""
    text = blown_up(data, resume_every=0)
    found = re.search(r"went wrong at step (\d+): classifier: \S+ is not finite", text)
    assert found is not None, text
    kept = sorted((data / "blown_up" / "resume").iterdir())
    assert kept[-1].name == f"step_{int(found[1]) - 1:010}.resume"
    assert str(kept[-1].relative_to(data)) in text
    again = blown_up(data, resume_every=0)
    assert f"goes on after step {int(found[1]) - 1}" in again
    assert f"went wrong at step {found[1]}" in again


@pytest.mark.slow
def test_the_last_step_leaves_weights_that_are_not_finite(data: Path) -> None:
    done = train(
        data,
        "pretrain-classifier",
        "last_step",
        pretrain_classifier={"steps": 1, "optimizer": {"learning_rate": 1e38, "schedule": "constant"}},
    )
    assert done.returncode == 1
    assert re.search(r"went wrong at step 1: classifier: \S+ is not finite", done.stderr), done.stderr
    assert not (data / "last_step" / "classifier.safetensors").exists()


LOST = {"gan": {"generator_learning_rate": 1e-7, "discriminator_learning_rate": 0.01, "r1_gamma": 0.0}}
FLAT = {"gan": {"generator_learning_rate": 1e-9, "discriminator_learning_rate": 1e-9, "r1_gamma": 0.0}}


@pytest.mark.slow
def test_a_discriminator_that_has_won(data: Path) -> None:
    changes = merged(LOST, {"pretrain_gan": {"steps": STEPS}, "runtime": {"collapse_limit": 0.3}})
    done = train(data, "pretrain-gan", "won", **changes)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the discriminator has won and the generator does not follow" in done.stderr
    assert "runtime.collapse_limit is 0.3" in done.stderr
    assert "gan.discriminator_learning_rate" in done.stderr
    assert not (data / "won" / "gan.safetensors").exists()


@pytest.mark.slow
def test_a_discriminator_that_says_the_same_of_all(data: Path) -> None:
    changes = merged(FLAT, {"pretrain_gan": {"steps": STEPS}, "runtime": {"collapse_limit": 0.3}})
    done = train(data, "pretrain-gan", "flat", **changes)
    assert done.returncode == 1
    assert "the discriminator has collapsed: its logits have a standard deviation of" in done.stderr


@pytest.mark.slow
def test_without_a_limit_it_goes_on(data: Path) -> None:
    changes = merged(FLAT, {"pretrain_gan": {"steps": STEPS}, "runtime": {"collapse_limit": 0}})
    done = train(data, "pretrain-gan", "unlimited", **changes)
    assert done.returncode == 0, done.stderr


def test_diversity_of_a_generator(data: Path) -> None:
    """Near 0 for one that makes one image a class, whatever the latents; about 1 for real images."""
    settings = parse_settings(TINY, "test")
    gan, _ = new_gan_step(settings, Stage("pretrain_gan", 0, 0, data, torch.device("cpu"), "fp32"))
    images = load_task_data([data / "data" / "task_0_train.safetensors"], torch.device("cpu"))
    diversity = Diversity(gan, images, Normalization(images.mean, images.std), 0)
    class_after_class = copy.deepcopy(gan.generator)

    class OneImageAClass(torch.nn.Module):
        def forward(self, z: torch.Tensor, labels: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
            quiet = [torch.zeros_like(part) for part in noise]
            return class_after_class(torch.zeros_like(z), labels, quiet)

    class RealImages(torch.nn.Module):
        def forward(self, _: torch.Tensor, labels: torch.Tensor, *__: object) -> torch.Tensor:
            rng = torch.Generator().manual_seed(1)
            chosen = []
            for label in labels:
                same = torch.nonzero(images.labels == label).squeeze(1)
                chosen.append(same[torch.randint(len(same), (), generator=rng)])
            return Normalization(images.mean, images.std)(images.images[torch.stack(chosen)])

    assert float(diversity(OneImageAClass())) < 1e-6
    assert 0.3 < float(diversity(RealImages())) < 3


def test_a_generator_that_has_collapsed_is_judged_after_the_first_window() -> None:
    collapse = Collapse(0.01, steps=400)
    sound = {"d_loss": 1.3, "d_spread": 0.5}
    verdicts = {}
    for step in range(400):
        scalars = sound | ({"diversity": 0.001} if collapse.probes(step) else {})
        verdict = collapse.judge(step, scalars)
        if verdict is not None:
            verdicts[step + 1] = verdict
    assert list(verdicts) == [200, 300, 400]
    assert "the generator has collapsed: its images of a class differ 0.001 times" in verdicts[200]


OUT_OF_MEMORY = """
import resource, sys
from genifer.training import gan, supervised
from genifer.cli import main
in_use = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**29, in_use + 2**29))
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory")
@pytest.mark.slow
def test_too_little_memory(data: Path) -> None:
    (data / "large.yaml").write_text(
        yaml.safe_dump(
            merged(TINY, {"classifier": {"width": 64}, "pretrain_classifier": {"batch_size": 60000}})
        )
    )
    options = ["--config", "large.yaml", "--data", "data/task_0_train.safetensors", "--output", "large"]
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, "pretrain-classifier", *options],
        cwd=data,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "has not enough memory" in done.stderr
    assert "lower pretrain_classifier.batch_size" in done.stderr
