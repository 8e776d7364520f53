"""The GAN's training: each of its settings does what it says."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support.chain import CPU, Chain, metrics, settings_with, weights
from torch import Tensor

from genifer.errors import GeniferError
from genifer.nn.ada import part_of
from genifer.nn.generator import Generator
from genifer.training.checkpoints import load_classifier, load_gan
from genifer.training.gan import Distillation, GanTraining
from genifer.training.job import Job
from genifer.training.untrained import untrained_gan


@pytest.mark.parametrize("mode", ["indirect", "direct"])
@pytest.mark.parametrize("matching_stage", range(7))
def test_matching_at_every_stage(chain: Chain, tmp_path: Path, matching_stage: int, mode: str) -> None:
    sides = {0: 4, 1: 4, 2: 4}
    channels = [8] * (sides.get(matching_stage, 2) if mode == "direct" else 4)
    settings = settings_with(
        gan={"matching_stage": matching_stage, "matching_mode": mode, "ada": {"mode": "none"}},
        generator={"channels": channels},
        genifer={"feature_distillation": "new" if mode == "direct" else "replayed"},
    )
    before = weights(chain.classifier)
    _, classifier, gan = chain.all(settings, tmp_path)
    made = load_gan(gan, CPU).generator
    assert made.stage == (matching_stage if mode == "direct" else 0)
    assert load_classifier(classifier, CPU).network.n_classes == 7
    after = weights(classifier)
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
    # Real images pass through all stages in either mode, so all of them learn.
    assert not torch.equal(before["stages.0.0.weight"], after["stages.0.0.weight"])
    for path in (classifier, gan):
        assert metrics(path).filter(like="loss").notna().all(axis=None)


def test_a_gan_of_another_mode_is_refused(chain: Chain, tmp_path: Path) -> None:
    indirect = settings_with(gan={"ada": {"mode": "none"}})
    direct = settings_with(
        gan={"matching_mode": "direct", "ada": {"mode": "none"}},
        generator={"channels": [8, 8]},
        genifer={"feature_distillation": "new"},
    )
    old_gan, classifier, _ = chain.all(indirect, tmp_path)
    with pytest.raises(GeniferError, match=r"gan.matching_mode: indirect.*direct"):
        chain.train_gan(direct, tmp_path, classifier, old_gan)


@pytest.mark.parametrize("mode", ["none", "fixed"])
@pytest.mark.parametrize("task", [0, 1])
def test_a_shared_pass_changes_what_is_drawn_and_nothing_else(task: int, mode: str) -> None:
    """With the same noise and augmentation for both halves, two passes give what one gives."""
    ada = {"mode": mode} | ({"probability": 0.5} if mode == "fixed" else {})
    trainings = []
    for shared in (False, True):
        settings = settings_with(gan={"ada": ada, "share_generated": shared, "r1_interval": 2})
        name = "train_gan" if task else "pretrain_gan"
        torch.manual_seed(0)
        trainings.append(untrained_gan(settings, Job(name, 0, task, Path(), CPU, "fp32")))
    apart, together = trainings
    for training in trainings[1:]:
        training.generator.load_state_dict(apart.generator.state_dict())
        training.discriminator.load_state_dict(apart.discriminator.state_dict())
    for step in range(4):
        shared = together.draw_batch()
        assert shared.generator_noise is None
        n_old = len(shared.labels) - len(shared.images)
        noise, amounts = shared.discriminator_noise, None
        if shared.augmentation is not None:
            of_both, of_generator = shared.augmentation
            assert of_generator is None
            amounts = (of_both, part_of(of_both, len(shared.labels), None))
        twice = dataclasses.replace(
            shared,
            teacher_noise=[maps[:n_old] for maps in noise] if n_old else None,
            generator_noise=noise,
            augmentation=amounts,
        )
        expected, found = apart.step(twice, step), together.step(shared, step)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-4), name


def test_the_critic_takes_more_steps(chain: Chain, tmp_path: Path) -> None:
    settings = settings_with(gan={"critic_steps": 3, "ada": {"mode": "none"}}, pretrain_gan={"steps": 8})
    table = metrics(chain.pretrain_gan(settings, tmp_path))
    assert table["g_loss"].notna().tolist() == [step % 3 == 0 for step in range(8)]
    assert table["d_loss"].notna().all()


def test_augmentation_adapts_stays_or_is_off(chain: Chain, tmp_path: Path) -> None:
    def probability(**ada: Any) -> tuple[list[float], list[float]]:
        steps = {"steps": 9}
        settings = settings_with(
            gan={"ada": {"full_range_steps": 40, "target": -0.9, "interval": 1} | ada},
            pretrain_gan=steps,
            train_gan=steps,
        )
        _, _, gan = chain.all(settings, tmp_path)
        first = tmp_path / "pretrain_gan_0" / "gan.safetensors"
        columns = [
            metrics(path).get("ada_probability", pd.Series(dtype=float)).tolist() for path in (first, gan)
        ]
        assert load_gan(gan, CPU).ada_probability == pytest.approx(
            columns[1][-1] if columns[1] else ada.get("probability", 0.0)
        )
        return columns[0], columns[1]

    first, later = probability()
    assert first[-1] > 5 / 40
    assert later[0] <= 1 / 40
    first, later = probability(reset_each_task=False)
    assert later[0] >= first[-1] - 1 / 40
    assert probability(max_probability=0.05)[0][-1] == pytest.approx(0.05)
    assert probability(mode="fixed", probability=0.3) == ([], [])
    assert probability(mode="none") == ([], [])


def test_fixed_augmentation_acts(chain: Chain, tmp_path: Path) -> None:
    def d_real(**ada: Any) -> list[float]:
        settings = settings_with(gan={"ada": ada}, pretrain_gan={"steps": 1})
        return metrics(chain.pretrain_gan(settings, tmp_path))["d_real"].tolist()

    assert d_real(mode="fixed", probability=1.0) != d_real(mode="none")


@pytest.mark.parametrize("half", ["generator", "discriminator"])
def test_reinitialised_halves_start_anew(chain: Chain, tmp_path: Path, half: str) -> None:
    slow = {"generator_learning_rate": 1e-9, "discriminator_learning_rate": 1e-9, "ada": {"mode": "none"}}
    steps = {"steps": 1, "distillation_weight": 0.0}
    old_path, _, kept_path = chain.all(settings_with(gan=slow, train_gan=steps), tmp_path / "kept")
    settings = settings_with(gan=slow, train_gan=steps | {f"reinitialize_{half}": True})
    _, _, new_path = chain.all(settings, tmp_path / "new")

    def first_weights(path: Path) -> Tensor:
        return next(getattr(load_gan(path, CPU), half).convs[0].parameters())

    assert torch.allclose(first_weights(old_path), first_weights(kept_path), atol=1e-5)
    assert not torch.allclose(first_weights(old_path), first_weights(new_path), atol=1e-1)


@pytest.mark.parametrize(("loss", "compared"), [("L1", 0), ("L2", 0), ("L1", 4), ("L2", 6)])
def test_generator_distillation(chain: Chain, tmp_path: Path, loss: str, compared: int) -> None:
    steps = {"steps": 3, "distillation_loss": loss, "distillation_stage": compared}
    _, _, gan = chain.all(settings_with(gan={"ada": {"mode": "none"}}, train_gan=steps), tmp_path)
    distances = metrics(gan)["g_distillation"]
    assert distances[0] < 1e-6
    assert distances[2] > 0


def test_generator_distillation_is_what_its_settings_say() -> None:
    generator = Generator(7, 8, 4, 8, [8] * 4, 1)
    settings = settings_with().train_gan
    assert Distillation(generator, settings, 6, 3).weight == 20
    level = settings.model_copy(update={"distillation_grows": False})
    assert Distillation(generator, level, 6, 3).weight == 10


def trained_with(gan: dict[str, Any], task: int, steps: int) -> tuple[GanTraining, dict[str, list[float]]]:
    """A training after some steps, and its scalars of each."""
    optional = {"share_generated": True, "ada": {"mode": "none"}, "generator_learning_rate": 0.01}
    settings = settings_with(gan=optional | gan, generator={"normalize_inputs": True})
    torch.manual_seed(0)
    name = "train_gan" if task else "pretrain_gan"
    training = untrained_gan(settings, Job(name, 0, task, Path(), CPU, "fp32"))
    taken = [training.step(training.draw_batch(), step) for step in range(steps)]
    names = dict.fromkeys(name for scalars in taken for name in scalars)
    return training, {name: [float(scalars[name]) for scalars in taken if name in scalars] for name in names}


@pytest.mark.parametrize(
    ("setting", "scalar"), [("guidance_weight", "g_guidance"), ("feature_means_weight", "g_feature_means")]
)
def test_the_classifier_leads_the_generator(setting: str, scalar: str, tmp_path: Path) -> None:
    """With a weight that outweighs the discriminator the loss falls below where it starts."""
    learns = {"steps": 150, "batch_size": 32, "optimizer": {"name": "adam", "learning_rate": 0.01}}
    settings = settings_with(
        pretrain_classifier=learns,
        gan={setting: 100.0, "ada": {"mode": "none"}, "generator_learning_rate": 0.01},
        generator={"normalize_inputs": True},
        pretrain_gan={"steps": 300},
        train_gan={"steps": 100},
    )
    chain = Chain(tmp_path)
    chain.classifier = chain.pretrain_classifier(settings, tmp_path / "learned")
    first, _, later = map(metrics, chain.all(settings, tmp_path))
    assert later[scalar].notna().all()
    start, end = first[scalar][50:100].mean(), first[scalar][-50:].mean()
    assert end < 0.85 * start
    without = settings_with(pretrain_gan={"steps": 1})
    assert scalar not in metrics(chain.pretrain_gan(without, tmp_path / "without"))


def test_targets_of_feature_means() -> None:
    """Means of real images of the new classes, and of what the teacher makes of the old ones."""
    training, _ = trained_with({"feature_means_weight": 1.0}, 1, 0)
    means, data = training.feature_means, training.data
    assert means is not None
    assert training.distillation is not None
    assert len(means.targets) == data.n_old + data.n_new
    of_class = data.images[data.labels == data.n_old]
    mean = training.pooled(training.normalize(of_class)).mean(0)
    assert torch.allclose(means.targets[data.n_old], mean, atol=1e-4)
    teacher, n = training.distillation.teacher, 2000
    rng = torch.Generator().manual_seed(5)
    made = teacher(
        torch.randn(n, teacher.latent_dim, generator=rng),
        torch.zeros(n, dtype=torch.int64),
        teacher.draw_noise(n, rng),
    )
    features = training.pooled(made)
    error = (means.targets[0] - features.mean(0)).norm() / features.std(0).norm()
    assert error < 0.3  # 100 samples, so about 0.1 of a standard deviation


def test_running_feature_means_follow_the_samples() -> None:
    means = trained_with({"feature_means_weight": 1.0}, 0, 0)[0].feature_means
    assert means is not None
    far = means.targets + 3.0 / means.scale  # three standard deviations within classes
    labels = torch.arange(len(far)).repeat(8)
    distances = [float(means.distance(far[labels], labels)) for _ in range(40)]
    assert distances[0] < distances[5] < distances[-1]
    assert distances[-1] == pytest.approx(9.0, rel=1e-3)
    features = far[labels].requires_grad_()
    means.distance(features, labels).backward()
    assert features.grad is not None
    # Gradient descent moves the samples back towards their targets.
    assert (features.grad > 0).all()


def test_learning_rates_fall_to_zero() -> None:
    """From half of the steps on, linearly; an interrupted training would go on with the same rates."""
    settings = settings_with(gan={"decay_start": 0.5, "ada": {"mode": "none"}}, pretrain_gan={"steps": 8})
    training = untrained_gan(settings, Job("pretrain_gan", 0, 0, Path(), CPU, "fp32"))
    rates = []
    for step in range(8):
        training.step(training.draw_batch(), step)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer, _ in training.learning_rates])
    for (_, full), of_optimizer in zip(training.learning_rates, zip(*rates, strict=True), strict=True):
        assert [rate / full for rate in of_optimizer] == pytest.approx([1] * 5 + [0.75, 0.5, 0.25])
    before = copy.deepcopy(training.generator.state_dict())
    training.set_learning_rates(8)
    training.generator_optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in training.generator.state_dict().items())
