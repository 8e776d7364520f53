"""`status.json` of trainings: where they stood, also when they were interrupted or failed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.commands import TINY, merged
from support.in_process import genifer

from genifer.training.classifier import ClassifierTraining
from genifer.training.loop import Loop


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    changes = {"runtime": {"device": "cpu", "trackers": []}, "abd": {"steps": 3}}
    (folder / "run.yaml").write_text(yaml.safe_dump(merged(TINY, changes)))
    assert genifer("prepare-data", "--config", folder / "run.yaml", "--output", folder / "data") == 0
    return folder


def train(prepared: Path, output: Path) -> int:
    data = prepared / "data" / "task_0_train.safetensors"
    return genifer("pretrain-classifier", "--config", prepared / "run.yaml", "--output", output, data)


def status_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "status.json").read_text())


def test_a_training_says_where_it_stood(prepared: Path, tmp_path: Path) -> None:
    assert train(prepared, tmp_path) == 0
    status = status_of(tmp_path)
    assert (status["job"], status["seed"], status["task"]) == ("pretrain_classifier", 0, 0)
    assert (status["state"], status["steps"], status["done"]) == ("done", 20, 20)
    assert 0 < status["seconds"] < 60
    assert 0 < status["cpu_seconds"] < 120
    assert status["memory_mb"] > 100
    assert set(status["scalars"]) == {"loss", "accuracy"}
    assert (status["device"], status["precision"]) == ("cpu", "fp32")
    assert status["machine"]
    assert status["pid"] == os.getpid()


def test_an_interrupted_training_counts_on(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, done = ClassifierTraining.step, []
    with monkeypatch.context() as patch:

        def stops(self: ClassifierTraining) -> Any:
            done.append(1)
            if len(done) == 8:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self)

        patch.setattr(ClassifierTraining, "step", stops)
        assert train(prepared, tmp_path) == 75
    status = status_of(tmp_path)
    assert (status["state"], status["done"]) == ("interrupted", 8)
    assert "stopped by SIGTERM" in status["message"]
    earlier = {"seconds": 1000.0, "cpu_seconds": 2000.0, "memory_mb": 10.0**6}
    (tmp_path / "status.json").write_text(json.dumps(status | earlier))
    assert train(prepared, tmp_path) == 0
    both = status_of(tmp_path)
    assert 1000 < both["seconds"] < 1060
    assert 2000 < both["cpu_seconds"] < 2120
    assert both["memory_mb"] == 10**6
    # A training that begins anew counts from nothing.
    assert train(prepared, tmp_path) == 0
    assert status_of(tmp_path)["seconds"] < 60


def test_an_interrupted_preparation_counts_on(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it was interrupted before its first step."""
    assert train(prepared, tmp_path / "first") == 0
    data, classifier = (
        prepared / "data" / "task_1_train.safetensors",
        tmp_path / "first" / "classifier.safetensors",
    )
    command = ["train", "abd", "--config", prepared / "run.yaml", "--old-classifier", classifier]
    command += ["--output", tmp_path / "abd", data]
    save_or_stop = Loop._save_or_stop

    def stops(self: Loop, *arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        save_or_stop(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_save_or_stop", stops)
        assert genifer(*command) == 75
    status = status_of(tmp_path / "abd")
    assert (status["state"], status["done"]) == ("interrupted", 0)
    assert status["preparation"] == [1, 2]
    (tmp_path / "abd" / "status.json").write_text(json.dumps(status | {"cpu_seconds": 2000.0}))
    assert genifer(*command) == 0
    assert 2000 < status_of(tmp_path / "abd")["cpu_seconds"] < 2120
    assert status_of(tmp_path / "abd")["preparation"] is None


def test_a_failed_training_says_why(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClassifierTraining, "step", lambda _: {"loss": torch.tensor(float("nan"))})
    assert train(prepared, tmp_path) == 1
    status = status_of(tmp_path)
    assert status["state"] == "failed"
    assert "went wrong at step 1: loss is nan" in status["message"]


def test_a_status_that_cannot_be_written_stops_nothing(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "status.json").mkdir(parents=True)
    (tmp_path / "status.json" / "in the way").touch()
    assert train(prepared, tmp_path) == 0
    assert (tmp_path / "classifier.safetensors").is_file()
    assert capsys.readouterr().err.count("no status from here on") == 1
    assert not list(tmp_path.glob(".status*"))
