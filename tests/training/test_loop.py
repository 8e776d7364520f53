"""A training that goes wrong says so, and leaves what was sound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.chain import Chain
from support.commands import write_run_file
from support.in_process import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blown_up(
    chain: Chain, capsys: pytest.CaptureFixture[str], *, resume_every: float = 5.0, **settings: Any
) -> str:
    """The messages of a first training that must fail."""
    runtime = {"resume_every": resume_every, "trackers": []}
    run_file = write_run_file(Path(), pretrain_classifier=settings, runtime=runtime)
    options = ["--config", run_file, "--output", "blown_up"]
    code, text = run(capsys, "pretrain-classifier", *options, chain.data(0))
    assert code == 1
    assert "Traceback" not in text
    assert not Path("blown_up/classifier.safetensors").exists()
    return text


TOO_FAST = {"steps": 300, "optimizer": {"learning_rate": 1e9}}


@pytest.mark.usefixtures("here")
def test_a_loss_that_is_not_finite(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    text = blown_up(chain, capsys, **TOO_FAST)
    found = re.search(
        r"\[pretrain_classifier, task 0, seed 0\] went wrong at step (\d+): loss is (nan|inf)", text
    )
    assert found is not None, text
    assert len(re.findall(r"^  step \d+: loss ", text, re.MULTILINE)) == min(int(found[1]), 5)
    assert "lower pretrain_classifier.optimizer.learning_rate" in text


def test_weights_that_are_not_finite(here: Path, chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """They are found when a resume file is due, and the file before it stays."""
    text = blown_up(chain, capsys, resume_every=0, **TOO_FAST)
    found = re.search(r"went wrong at step (\d+): classifier: \S+ is not finite", text)
    assert found is not None, text
    kept = sorted((here / "blown_up" / "resume").iterdir())
    assert kept[-1].name == f"step_{int(found[1]) - 1:010}.resume"
    assert str(kept[-1].relative_to(here)) in text
    again = blown_up(chain, capsys, resume_every=0, **TOO_FAST)
    assert f"resumes after step {int(found[1]) - 1}" in again
    assert f"went wrong at step {found[1]}" in again


@pytest.mark.usefixtures("here")
def test_the_last_step_leaves_weights_that_are_not_finite(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    text = blown_up(chain, capsys, steps=1, optimizer={"learning_rate": 1e38, "schedule": "constant"})
    assert re.search(r"went wrong at step 1: classifier: \S+ is not finite", text), text
