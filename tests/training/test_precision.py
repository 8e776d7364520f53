"""`runtime.precision: auto`: chosen by a timing, kept in the cache, and kept by a training that resumes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.commands import TINY, merged
from support.in_process import genifer

from genifer.training import precision
from genifer.training.classifier import ClassifierTraining
from genifer.training.precision import ClassifierSizes, choose_precision, time_passes

CPU = torch.device("cpu")
SIZES = ClassifierSizes("resnet18", 4, 1, 8)

Timing = Callable[[float, float], list[ClassifierSizes]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of timings, in a folder that does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = precision.cache_file()
    assert path.is_relative_to(tmp_path)
    return path


@pytest.fixture
def timing(monkeypatch: pytest.MonkeyPatch) -> Timing:
    """Make timings give these seconds; returns the list of what was timed since."""

    def takes(fp32: float, bf16: float) -> list[ClassifierSizes]:
        timed: list[ClassifierSizes] = []

        def measure(sizes: ClassifierSizes) -> dict[str, float]:
            timed.append(sizes)
            return {"fp32": fp32, "bf16": bf16}

        monkeypatch.setattr(precision, "time_passes", measure)
        return timed

    return takes


@pytest.mark.parametrize(("bf16", "expected"), [(0.5, "bf16"), (0.9, "bf16"), (0.95, "fp32"), (3.0, "fp32")])
def test_the_faster_one_is_chosen(cache: Path, timing: Timing, bf16: float, expected: str) -> None:
    timing(1.0, bf16)
    choice = choose_precision("auto", CPU, SIZES)
    assert choice.precision == expected
    assert f"1000 ms in fp32 and {1000 * bf16:.4g} ms in bf16" in choice.reason
    assert cache.is_file()


def test_what_needs_no_timing(cache: Path, timing: Timing) -> None:
    timed = timing(1.0, 0.1)
    assert choose_precision("auto", torch.device("cuda"), SIZES).precision == "tf32"
    assert choose_precision("fp32", CPU, SIZES).precision == "fp32"
    assert choose_precision("auto", CPU, SIZES, deterministic=True).precision == "fp32"
    assert timed == []
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_a_machine_times_each_size_and_number_of_threads_once(
    timing: Timing, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = timing(1.0, 0.5)
    for _ in range(2):
        choice = choose_precision("auto", CPU, SIZES)
    assert len(timed) == 1
    assert "timed before" in choice.reason
    wider = ClassifierSizes("resnet18", 8, 1, 8)
    choose_precision("auto", CPU, wider)
    assert timed[1:] == [wider]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    choose_precision("auto", CPU, wider)
    monkeypatch.setattr(precision, "cpu_name", lambda: "another processor")
    choose_precision("auto", CPU, wider)
    assert len(timed) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": {"fp32": "x", "bf16": 1}}'])
def test_a_damaged_cache_is_replaced(cache: Path, timing: Timing, content: str) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    timing(1.0, 0.5)
    assert choose_precision("auto", CPU, SIZES).precision == "bf16"
    (entry,) = json.loads(cache.read_text()).values()
    assert entry == {"fp32": 1.0, "bf16": 0.5}


def test_without_a_cache_folder_every_job_times(cache: Path, timing: Timing) -> None:
    cache.parent.parent.mkdir(parents=True)
    cache.parent.write_text("in the way")
    timed = timing(1.0, 0.5)
    for _ in range(2):
        choice = choose_precision("auto", CPU, SIZES)
    assert choice.precision == "bf16"
    assert "not cached" in choice.reason
    assert len(timed) == 2


def test_timing_draws_none_of_the_trainings_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    seconds = time_passes(SIZES)
    assert torch.equal(torch.randn(3), expected)
    assert set(seconds) == {"fp32", "bf16"}
    assert all(value > 0 for value in seconds.values())


def test_a_training_that_resumes_keeps_its_precision(
    cache: Path,
    timing: Timing,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_file = tmp_path / "run.yaml"
    runtime = {"device": "cpu", "trackers": [], "precision": "auto"}
    run_file.write_text(yaml.safe_dump(merged(TINY, {"runtime": runtime})))
    assert genifer("prepare-data", "--config", run_file, "--output", tmp_path / "data") == 0
    data, output = tmp_path / "data" / "task_0_train.safetensors", tmp_path / "job"

    def train() -> int:
        return genifer("pretrain-classifier", "--config", run_file, "--output", output, data)

    def precision_of_job() -> str:
        return json.loads((output / "status.json").read_text())["precision"]

    step, done = ClassifierTraining.step, []

    def stops(self: ClassifierTraining) -> Any:
        done.append(1)
        if len(done) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    timing(1.0, 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTraining, "step", stops)
        assert train() == 75
    assert precision_of_job() == "bf16"
    cache.unlink()
    timed = timing(1.0, 2.0)
    assert train() == 0
    assert precision_of_job() == "bf16"
    assert timed == []
    assert "precision bf16: as before the interruption" in capsys.readouterr().err
    # One that begins anew is timed.
    assert train() == 0
    assert precision_of_job() == "fp32"
    assert [str(sizes) for sizes in timed] == ["resnet18 of width 4, 1 x 8 x 8"]
