"""Genifer: its distillations, and the share of replay in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.chain import CPU, Chain, job, settings_with

from genifer.errors import GeniferError
from genifer.methods.genifer import Genifer, GeniferSettings, replay_losses
from genifer.training.checkpoints import load_classifier
from genifer.training.untrained import untrained_task


def genifer_settings(**changes: Any) -> GeniferSettings:
    settings = settings_with(genifer=changes).of_method(Genifer)
    assert isinstance(settings, GeniferSettings)
    return settings


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return Chain(tmp_path_factory.mktemp("chain"))


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
    replay = old.features(torch.randn(5, 1, 8, 8), entry)
    for compared in (2, 3, 5):
        if feature_distillation == "replayed" and 0 < compared <= entry:
            continue
        settings = genifer_settings(
            output_distillation=output_distillation,
            feature_distillation=feature_distillation,
            feature_distillation_stage=compared,
        )
        new.zero_grad()
        losses = replay_losses(new.train(), old.train(), replay, real, labels, settings, entry)
        losses["loss"].backward()
        assert all(part.isfinite() for part in losses.values())
        gradients = {name: p.grad for name, p in new.named_parameters()}
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("feature_distillation", ["replayed", "new", "new_apart"])
def test_replay_apart_leaves_the_early_stages_alone(chain: Chain, feature_distillation: str) -> None:
    old, new = (load_classifier(chain.classifier, CPU).network.train() for _ in range(2))
    new.grow(3)
    settings = genifer_settings(feature_distillation=feature_distillation, feature_distillation_stage=2)
    losses = replay_losses(
        new, old, torch.randn(5, 1, 8, 8), torch.randn(6, 1, 8, 8), torch.full((6,), 5), settings
    )
    losses["distillation"].backward()
    touched = {
        int(name.split(".")[1])
        for name, p in new.named_parameters()
        if "stages" in name and p.grad is not None
    }
    assert touched == ({2, 3, 4} if feature_distillation == "new_apart" else {0, 1, 2, 3, 4})


def test_replay_share_adapts() -> None:
    settings = genifer_settings(replay_fraction="adaptive", batch_size=32)
    assert settings.replay_per_batch(4, 3) == 18
    assert settings.replay_per_batch(50, 10) == 26
    assert genifer_settings(replay_fraction=0.4, batch_size=32).replay_per_batch(4, 3) == 12


def test_a_batch_without_room_for_replay_is_refused() -> None:
    with pytest.raises(
        GeniferError, match=r"genifer.replay_fraction: 0.1 of genifer.batch_size: 8 leaves no room"
    ):
        settings_with(genifer={"replay_fraction": 0.1, "batch_size": 8})


@pytest.mark.parametrize("augment_replay", [True, False])
def test_replay_is_augmented_if_asked(augment_replay: bool) -> None:
    """Shifted replay repeats its border; what the generator made is compared with what the batch holds."""
    settings = settings_with(
        genifer={"augment_replay": augment_replay, "horizontal_flip": False, "crop_padding": 4}
    )
    training = untrained_task(settings, Genifer, job("train_genifer", 1, Path()))
    made: list[torch.Tensor] = []
    generate = training.learner._replay
    training.learner._replay = lambda *drawn: made.append(generate(*drawn)) or made[-1]
    replay = training.learner.draw_batch().replay
    assert replay.shape == made[0].shape
    assert torch.equal(replay, made[0]) is not augment_replay


def test_the_surest_candidate_is_replayed() -> None:
    settings = settings_with(genifer={"replay_candidates": 4, "augment_replay": False})
    training = untrained_task(settings, Genifer, job("train_genifer", 1, Path()))
    learner = training.learner
    learner.teacher.eval()
    made: list[tuple[torch.Tensor, torch.Tensor]] = []
    generate = learner._replay

    def watched(z: torch.Tensor, labels: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
        made.append((generate(z, labels, noise), labels))
        return made[-1][0]

    learner._replay = watched
    batch = learner.draw_batch()
    replay = batch.replay
    samples, labels = made[0]
    n = learner.n_replay
    assert torch.equal(batch.replay_labels, labels[:n])
    assert len(replay) == n
    assert len(samples) == 4 * n
    chosen = 0
    for index in range(n):
        candidates, label = samples[index::n], int(labels[index])
        assert (labels[index::n] == label).all()
        surest = learner.teacher(candidates).log_softmax(1)[:, label].argmax()
        assert torch.equal(replay[index], candidates[surest])
        chosen += int(surest) > 0
    assert chosen > 0


def test_cross_entropy_of_new_classes_alone(chain: Chain) -> None:
    """Real images then move no output of an old class."""
    old, new = (load_classifier(chain.classifier, CPU).network for _ in range(2))
    new.grow(3)
    touched = {}
    for classes in ("all", "new"):
        settings = genifer_settings(
            cross_entropy_classes=classes, cross_entropy_weight=1.0, distillation_weight=0.0
        )
        new.zero_grad()
        labels = torch.tensor([4, 5, 6])
        losses = replay_losses(
            new.train(), old.train(), torch.randn(5, 1, 8, 8), torch.randn(3, 1, 8, 8), labels, settings
        )
        losses["cross_entropy"].backward()
        assert new.head.bias.grad is not None
        touched[classes] = new.head.bias.grad != 0
    assert touched["all"].all()
    assert touched["new"].tolist() == [False] * 4 + [True] * 3


def test_adaptive_weights_follow_the_classes(chain: Chain) -> None:
    """Four old classes and three new ones: 3/7 of the cross-entropy, 4/7 of the distillation."""
    old, new = (load_classifier(chain.classifier, CPU).network for _ in range(2))
    new.grow(3)
    settings = genifer_settings(
        cross_entropy_weight="adaptive", distillation_weight="adaptive", feature_distillation_weight=0
    )
    labels = torch.tensor([4, 5, 6])
    losses = replay_losses(
        new.train(), old.train(), torch.randn(5, 1, 8, 8), torch.randn(3, 1, 8, 8), labels, settings
    )
    expected = (3 * losses["cross_entropy"] + 4 * losses["distillation"]) / 7
    torch.testing.assert_close(losses["loss"], expected)
