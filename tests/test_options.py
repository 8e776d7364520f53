"""Each option of the method does what it says, in the trainings that have it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from commands import TINY, merged
from torch import Tensor

from genifer.config import OptimizerSettings, RunSettings, parse_settings
from genifer.data.prepare import prepare_data
from genifer.errors import GeniferError
from genifer.nn.classifier import Classifier
from genifer.nn.generator import Generator
from genifer.training import gan as gan_training
from genifer.training import genifer as genifer_training
from genifer.training import start, supervised
from genifer.training.checkpoints import load_classifier, load_gan
from genifer.training.optimizers import make_optimizer
from genifer.training.stage import Stage

CPU = torch.device("cpu")


def settings_with(**changes: Any) -> RunSettings:
    return parse_settings(merged(TINY, changes), "test")


def stage(name: str, task: int, folder: Path) -> Stage:
    return Stage(name, 0, task, folder / f"{name}_{task}", CPU, "fp32")


class Chain:
    """The first classifier of the tiny run, and trainings that go on from it with other settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = settings_with()
        prepare_data(settings.data, settings.scenario, None, folder)
        self.classifier = self.pretrain_classifier(settings, folder)

    def data(self, task: int) -> Path:
        return self.folder / f"task_{task}_train.safetensors"

    def pretrain_classifier(self, settings: RunSettings, folder: Path) -> Path:
        first = stage("pretrain_classifier", 0, folder)
        supervised.pretrain_classifier(first, settings.classifier, settings.pretrain_classifier, self.data(0))
        return first.output / "classifier.safetensors"

    def pretrain_gan(self, settings: RunSettings, folder: Path) -> Path:
        first = stage("pretrain_gan", 0, folder)
        gan_training.pretrain_gan(
            first,
            settings.generator,
            settings.discriminator,
            settings.gan,
            settings.pretrain_gan,
            self.data(0),
            self.classifier,
        )
        return first.output / "gan.safetensors"

    def train_genifer(self, settings: RunSettings, folder: Path, old_gan: Path) -> Path:
        later = stage("train_genifer", 1, folder)
        genifer_training.train_genifer(later, settings.genifer, self.data(1), self.classifier, old_gan)
        return later.output / "classifier.safetensors"

    def train_gan(self, settings: RunSettings, folder: Path, classifier: Path, old_gan: Path) -> Path:
        later = stage("train_gan", 1, folder)
        gan_training.train_gan(later, settings.gan, settings.train_gan, self.data(1), classifier, old_gan)
        return later.output / "gan.safetensors"

    def all(self, settings: RunSettings, folder: Path) -> tuple[Path, Path, Path]:
        """GAN of task 0, classifier and GAN of task 1."""
        old_gan = self.pretrain_gan(settings, folder)
        classifier = self.train_genifer(settings, folder, old_gan)
        return old_gan, classifier, self.train_gan(settings, folder, classifier, old_gan)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return Chain(tmp_path_factory.mktemp("chain"))


def weights(path: Path, prefix: str = "") -> dict[str, Tensor]:
    network = load_classifier(path, CPU).network
    return {name: tensor for name, tensor in network.named_parameters() if name.startswith(prefix)}


def metrics(checkpoint: Path) -> pd.DataFrame:
    return pd.read_csv(checkpoint.parent / "metrics.csv")


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


@pytest.mark.parametrize("mode", ["indirect", "direct"])
@pytest.mark.parametrize("output_distillation", ["KD", "KD_sep", "KL", "MSE_prev", "L1"])
@pytest.mark.parametrize("feature_distillation", ["replayed", "new", "new_apart"])
def test_distillations_train_in_both_modes(
    chain: Chain, mode: str, output_distillation: str, feature_distillation: str
) -> None:
    """Samples enter at stage 3 in the direct mode; features are compared before, at and after it."""
    entry = 3 if mode == "direct" else 0
    torch.manual_seed(0)
    old = load_classifier(chain.classifier, CPU).network.requires_grad_(False)
    new = load_classifier(chain.classifier, CPU).network
    new.grow(3)
    real, labels = torch.randn(6, 1, 8, 8), torch.tensor([4, 5, 6, 4, 5, 6])
    replayed = old.features(torch.randn(5, 1, 8, 8), entry)
    for compared in (2, 3, 5):
        if feature_distillation == "replayed" and 0 < compared <= entry:
            continue
        settings = settings_with(
            genifer={
                "output_distillation": output_distillation,
                "feature_distillation": feature_distillation,
                "feature_distillation_stage": compared,
            }
        ).genifer
        new.zero_grad()
        losses = genifer_training.next_task_losses(
            new.train(), old.train(), replayed, real, labels, settings, entry
        )
        losses.loss.backward()
        assert all(math.isfinite(part.item()) for part in losses)
        gradients = {name: p.grad for name, p in new.named_parameters()}
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("feature_distillation", ["replayed", "new", "new_apart"])
def test_replayed_images_apart_leave_the_early_stages_alone(chain: Chain, feature_distillation: str) -> None:
    old, new = (load_classifier(chain.classifier, CPU).network.train() for _ in range(2))
    new.grow(3)
    settings = settings_with(
        genifer={"feature_distillation": feature_distillation, "feature_distillation_stage": 2}
    ).genifer
    losses = genifer_training.next_task_losses(
        new, old, torch.randn(5, 1, 8, 8), torch.randn(6, 1, 8, 8), torch.full((6,), 5), settings
    )
    losses.distillation.backward()
    touched = {
        int(name.split(".")[1])
        for name, p in new.named_parameters()
        if "stages" in name and p.grad is not None
    }
    assert touched == ({2, 3, 4} if feature_distillation == "new_apart" else {0, 1, 2, 3, 4})


def test_frozen_stages_keep_their_weights(chain: Chain, tmp_path: Path) -> None:
    settings = settings_with(gan={"ada": {"mode": "none"}}, genifer={"frozen_stages": 3})
    old_gan = chain.pretrain_gan(settings, tmp_path)
    before, after = weights(chain.classifier), weights(chain.train_genifer(settings, tmp_path, old_gan))
    kept = [name for name in before if name.startswith(("stages.0.", "stages.1.", "stages.2."))]
    learned = [name for name in before if name not in kept and "readout" not in name]
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert not any(torch.equal(before[name], after[name]) for name in learned)


def test_the_readout_alone_learns(chain: Chain, tmp_path: Path) -> None:
    settings = settings_with(
        pretrain_classifier={"frozen_stages": 5}, classifier={"pretrained": str(chain.classifier)}
    )
    after = weights(chain.pretrain_classifier(settings, tmp_path))
    before = weights(chain.classifier)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("stages."))
    assert not torch.equal(before["readout.weight"], after["readout.weight"])


def test_a_pretrained_extractor_up_to_a_stage(chain: Chain, tmp_path: Path) -> None:
    settings = settings_with(
        classifier={"pretrained": str(chain.classifier), "pretrained_stages": 2},
        pretrain_classifier={"steps": 1, "optimizer": {"learning_rate": 1e-9}},
    )
    before, after = weights(chain.classifier), weights(chain.pretrain_classifier(settings, tmp_path))
    assert torch.allclose(before["stages.1.0.conv1.weight"], after["stages.1.0.conv1.weight"])
    assert not torch.allclose(before["stages.2.0.conv1.weight"], after["stages.2.0.conv1.weight"])
    wider = settings_with(classifier={"pretrained": str(chain.classifier), "width": 8})
    with pytest.raises(GeniferError, match=r"classifier.pretrained.*classifier.width"):
        chain.pretrain_classifier(wider, tmp_path)


def test_a_readout_without_bias_grows(chain: Chain, tmp_path: Path) -> None:
    settings = settings_with(classifier={"readout_bias": False})
    path = chain.pretrain_classifier(settings, tmp_path)
    network = load_classifier(path, CPU).network
    network.grow(3)
    assert network.readout.bias is None
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


def test_replay_share_adapts() -> None:
    settings = settings_with(genifer={"replay_fraction": "adaptive", "batch_size": 32}).genifer
    assert settings.replayed(4, 3) == 18
    assert settings.replayed(50, 10) == 26
    assert settings_with(genifer={"replay_fraction": 0.4, "batch_size": 32}).genifer.replayed(4, 3) == 12


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
    assert gan_training.Distillation(generator, settings, 6, 3).weight == 20
    level = settings.model_copy(update={"distillation_grows": False})
    assert gan_training.Distillation(generator, level, 6, 3).weight == 10


@pytest.mark.parametrize(
    ("schedule", "losses", "rates"),
    [
        ("constant", [1.0] * 8, [1.0] * 8),
        ("multistep", [1.0] * 8, [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]),
        ("exponential", [1.0] * 8, [1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]),
        ("linear", [1.0] * 8, [1, 0.7, 0.7, 0.4, 0.4, 0.1, 0.1, 0.1]),
        ("plateau", [1.0] * 8, [1, 1, 1, 1, 1, 0.5, 0.5, 0.5]),
        ("plateau", [4, 4, 3, 3, 2, 2, 1, 1], [1.0] * 8),
        ("plateau", [1.0, 1.0, 0.95, 0.95, 0.92, 0.92, 0.9, 0.9], [1, 1, 1, 1, 1, 0.5, 0.5, 0.5]),
    ],
)
def test_schedules(schedule: str, losses: list[float], rates: list[float]) -> None:
    """Eight steps in four epochs; the rate after each step."""
    settings = OptimizerSettings.model_validate(
        {
            "schedule": schedule,
            "learning_rate": 1.0,
            "factor": 0.5,
            "milestones": [0.5, 0.75],
            "epochs": 4,
            "patience": 1,
        }
    )
    optimizer, steps = make_optimizer(settings, [torch.nn.Parameter(torch.zeros(1))], 8)
    seen = []
    for loss in losses:
        optimizer.step()
        steps.step(torch.tensor(float(loss)))
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx(rates)


@pytest.mark.parametrize("name", ["sgd", "adam", "radam"])
def test_optimizers_learn(name: str) -> None:
    x = torch.nn.Parameter(torch.ones(3))
    frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    settings = OptimizerSettings.model_validate({"name": name, "learning_rate": 0.05})
    optimizer, _ = make_optimizer(settings, [x, frozen], 50)
    for _ in range(50):
        optimizer.zero_grad()
        x.square().sum().backward()
        optimizer.step()
    assert x.abs().max() < 0.9
    assert frozen.eq(1).all()


def test_start_checkpoints_must_fit(chain: Chain, tmp_path: Path) -> None:
    settings = settings_with(gan={"ada": {"mode": "none"}})
    old_gan = chain.pretrain_gan(settings, tmp_path)
    target = tmp_path / "taken.safetensors"
    given = settings_with(start={"classifier": str(chain.classifier), "gan": str(old_gan)}).start
    start.use_classifier(given, chain.classifier, chain.data(0), target)
    assert target.read_bytes() == chain.classifier.read_bytes()
    start.use_gan(given, settings.gan, old_gan, chain.data(0), target)
    assert target.read_bytes() == old_gan.read_bytes()

    later = given.model_copy(update={"task": 1})
    with pytest.raises(GeniferError, match=r"knows 4 classes.*start.task: 1 needs one that knows 7"):
        start.use_classifier(later, chain.classifier, chain.data(0), tmp_path / "no")
    other = settings.gan.model_copy(update={"matching_stage": 3})
    with pytest.raises(GeniferError, match=r"gan.matching_stage: 4"):
        start.use_gan(given, other, old_gan, chain.data(0), tmp_path / "no")
    prepare_data(
        settings_with(data={"mean": [0.1], "std": [0.1]}).data, settings.scenario, None, tmp_path / "data"
    )
    with pytest.raises(GeniferError, match=r"data.mean"):
        start.use_classifier(
            given, chain.classifier, tmp_path / "data/task_0_train.safetensors", tmp_path / "no"
        )
    assert not (tmp_path / "no").exists()
    assert isinstance(load_classifier(chain.classifier, CPU).network, Classifier)
