"""A GAN that has collapsed ends its training with a message."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support.chain import Chain, job, settings_with
from support.commands import merged, write_run_file
from support.device import DEVICE
from support.in_process import run

from genifer.data.batches import load_task_data
from genifer.training.collapse import Collapse, Diversity
from genifer.training.untrained import untrained_gan

LOST = {"gan": {"generator_learning_rate": 1e-7, "discriminator_learning_rate": 0.01, "r1_gamma": 0.0}}
FLAT = {"gan": {"generator_learning_rate": 1e-9, "discriminator_learning_rate": 1e-9, "r1_gamma": 0.0}}


def train(
    chain: Chain, folder: Path, capsys: pytest.CaptureFixture[str], limit: float, settings: dict[str, Any]
) -> tuple[int, str]:
    runtime = {"collapse_limit": limit, "trackers": []}
    settings = merged(settings, {"pretrain_gan": {"steps": 300}, "runtime": runtime})
    options = ["--config", write_run_file(folder, **settings), "--classifier", chain.classifier]
    code, text = run(capsys, "pretrain-gan", *options, "--output", folder / "gan", chain.data(0))
    assert "Traceback" not in text
    assert (folder / "gan" / "gan.safetensors").exists() is (code == 0)
    return code, text


@pytest.mark.slow
def test_a_discriminator_that_has_won(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = train(chain, tmp_path, capsys, 0.3, LOST)
    assert code == 1
    assert "the discriminator has won and the generator no longer keeps up" in text
    assert "runtime.collapse_limit is 0.3" in text
    assert "gan.discriminator_learning_rate" in text


@pytest.mark.slow
def test_a_discriminator_with_the_same_logit_for_all(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = train(chain, tmp_path, capsys, 0.3, FLAT)
    assert code == 1
    assert "the discriminator has collapsed: its logits have a standard deviation of" in text


@pytest.mark.slow
def test_without_a_limit_it_continues(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = train(chain, tmp_path, capsys, 0, FLAT)
    assert code == 0, text


def test_diversity_of_a_generator(chain: Chain, tmp_path: Path) -> None:
    """Near 0 for one image per class, whatever the latents; about 1 for real images."""
    training = untrained_gan(settings_with(), job("pretrain_gan", 0, tmp_path))
    images = load_task_data([chain.data(0)], DEVICE)
    normalize, features = training.normalize, training.features
    inputs, autocast = training.discriminator_input, training.job.autocast
    diversity = Diversity(training.generator, None, features, inputs, autocast, 32, images, normalize, 0)
    varied = copy.deepcopy(training.generator)

    class OneImagePerClass(torch.nn.Module):
        def forward(self, z: torch.Tensor, labels: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
            quiet = [torch.zeros_like(part) for part in noise]
            return varied(torch.zeros_like(z), labels, quiet)

    class RealImages(torch.nn.Module):
        def forward(self, _: torch.Tensor, labels: torch.Tensor, *__: object) -> torch.Tensor:
            rng = torch.Generator(DEVICE).manual_seed(1)
            chosen = []
            for label in labels:
                same = torch.nonzero(images.labels == label).squeeze(1)
                chosen.append(same[torch.randint(len(same), (), generator=rng, device=DEVICE)])
            return normalize(images.images[torch.stack(chosen)])

    assert float(diversity(OneImagePerClass())) < 1e-6
    assert 0.3 < float(diversity(RealImages())) < 3


def test_a_collapsed_generator_is_judged_after_the_first_window() -> None:
    collapse = Collapse(0.01, steps=400)
    sound = {"d_loss": 1.3, "d_spread": 0.5}
    verdicts = {}
    for step in range(400):
        scalars = sound | ({"diversity": 0.001} if collapse.due(step) else {})
        verdict = collapse.judge(step, scalars)
        if verdict is not None:
            verdicts[step + 1] = verdict
    assert list(verdicts) == [200, 300, 400]
    assert "the generator has collapsed: its images of a class differ 0.001 times" in verdicts[200]
