"""Trainings of the classifier: frozen, pretrained and growing networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.chain import CPU, Chain, settings_with, weights

from genifer.errors import GeniferError
from genifer.training.checkpoints import load_classifier


def test_frozen_stages_keep_their_weights(chain: Chain, tmp_path: Path) -> None:
    settings = settings_with(finetune={"frozen_stages": 3})
    before, after = weights(chain.classifier), weights(chain.train("finetune", settings, tmp_path))
    kept = [name for name in before if name.startswith(("stages.0.", "stages.1.", "stages.2."))]
    learned = [name for name in before if name not in kept and "head" not in name]
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert not any(torch.equal(before[name], after[name]) for name in learned)


def test_the_head_alone_learns(chain: Chain, tmp_path: Path) -> None:
    settings = settings_with(
        pretrain_classifier={"frozen_stages": 5}, classifier={"pretrained": str(chain.classifier)}
    )
    after = weights(chain.pretrain_classifier(settings, tmp_path))
    before = weights(chain.classifier)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("stages."))
    assert not torch.equal(before["head.weight"], after["head.weight"])


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


def test_a_head_without_bias(chain: Chain, tmp_path: Path) -> None:
    path = chain.pretrain_classifier(settings_with(classifier={"head_bias": False}), tmp_path)
    assert load_classifier(path, CPU).network.head.bias is None


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm_of_frozen_stages(chain: Chain, tmp_path: Path, frozen: bool) -> None:
    settings = settings_with(finetune={"frozen_stages": 5, "frozen_batch_norm": frozen})
    paths = (chain.classifier, chain.train("finetune", settings, tmp_path))
    before, after = (load_classifier(path, CPU).network.state_dict() for path in paths)
    statistics = [name for name in before if "running_mean" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) is frozen for name in statistics)
    assert not torch.equal(before["head.weight"], after["head.weight"][: len(before["head.weight"])])
