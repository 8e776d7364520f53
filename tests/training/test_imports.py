"""A job's start is quick because it imports nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.chain import Chain, settings_with
from support.commands import write_run_file

SLOW = ("torch._dynamo", "torchvision", "pandas", "matplotlib", "sklearn", "snakemake")
"""Packages whose import takes from a third of a second to two seconds."""

JOB = f"""
import atexit, sys
from genifer.cli import main
atexit.register(lambda: print([name for name in {SLOW} if name in sys.modules]))
main()
"""


def imported(*arguments: str | Path, folder: Path) -> str:
    command = [sys.executable, "-c", JOB, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("job", ["pretrain-classifier", "train", "pretrain-gan", "train-gan"])
def test_trainings(job: str, chain: Chain, tmp_path: Path) -> None:
    settings = settings_with(gan={"ada": {"mode": "fixed", "probability": 0.2}})
    arguments = chain.inputs(settings, tmp_path / "chain")
    run_file = write_run_file(tmp_path, gan={"ada": {"mode": "fixed", "probability": 0.2}})
    shared = ["--config", run_file, "--output", "job"]
    assert imported(job, *shared, *arguments[job], folder=tmp_path) == "[]"


def test_evaluations(chain: Chain, tmp_path: Path) -> None:
    gan = chain.pretrain_gan(settings_with(gan={"ada": {"mode": "none"}}), tmp_path / "chain")
    shared = ["--config", write_run_file(tmp_path), "--method", "m", "--classifier", chain.classifier]
    data = [chain.data(0), chain.folder / "task_0_test.safetensors"]
    assert imported("evaluate", *shared, "--output", "a", data[1], folder=tmp_path) == "[]"
    assert imported("evaluate-replay", *shared, "--gan", gan, "--output", "b", *data, folder=tmp_path) == "[]"
