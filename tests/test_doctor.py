"""`genifer doctor` says what would stop a run, before it does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import write_run_file

Genifer = Callable[..., subprocess.CompletedProcess[str]]


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_sound_machine(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path)
    before = set(tmp_path.rglob("*"))
    done = genifer("doctor", "--config", run_file, "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == ["device", "data", "disk", "results", "time"]
    assert {line[0] for line in lines} <= {"ok", "note"}
    assert set(tmp_path.rglob("*")) == before


def test_what_would_stop_the_run(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(
        tmp_path,
        data={"dataset": "image_folder", "archive": "nowhere"},
        classifier={"width": 64},
        joint={"steps": 10**9},
        seeds=list(range(10_000)),
    )
    (tmp_path / "results").write_text("a file where a folder should be")
    done = genifer("doctor", "--config", run_file, "--device", "auto", "--json")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = findings(done)
    assert found["data"]["verdict"] == "stop"
    assert "data.archive: nowhere does not exist" in found["data"]["message"]
    assert found["disk"]["verdict"] == "stop"
    assert found["disk"]["figures"] == {}
    assert found["results"]["verdict"] == "stop"
    assert "results: cannot be written" in found["results"]["message"]
    if found["device"]["message"].endswith("no GPU was found"):
        assert found["time"]["verdict"] == "stop"
        assert "runtime.max_cpu_hours" in found["time"]["message"]


def test_a_missing_gpu_that_was_asked_for(genifer: Genifer, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = genifer("doctor", "--config", write_run_file(tmp_path), "--device", "cuda", "--json")
    assert done.returncode == 1
    assert "runtime.device: cuda" in findings(done)["device"]["message"]
