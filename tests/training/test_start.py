"""Checkpoints from elsewhere replace the first trainings if they fit the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chain import Chain, settings_with
from support.commands import TINY
from support.data_files import prepare

from genifer.errors import GeniferError
from genifer.training import start


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
    with pytest.raises(GeniferError, match=r"knows 4 classes.*start.task: 1 needs a checkpoint that knows 7"):
        start.use_classifier(later, chain.classifier, chain.data(0), tmp_path / "no")
    other = settings.gan.model_copy(update={"matching_stage": 3})
    with pytest.raises(GeniferError, match=r"gan.matching_stage: 4"):
        start.use_gan(given, other, old_gan, chain.data(0), tmp_path / "no")
    prepare(tmp_path / "data", TINY["data"] | {"mean": [0.1], "std": [0.1]}, TINY["scenario"])
    with pytest.raises(GeniferError, match=r"data.mean"):
        start.use_classifier(
            given, chain.classifier, tmp_path / "data/task_0_train.safetensors", tmp_path / "no"
        )
    assert not (tmp_path / "no").exists()
