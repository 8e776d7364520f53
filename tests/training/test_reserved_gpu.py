"""Commands that train reserve a GPU before PyTorch can look for one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.chain import Chain, settings_with
from support.commands import ROOT, write_run_file
from support.pretended_gpus import pretended_gpus

from genifer.runtime.gpu_lease import take_lease
from genifer.runtime.gpus import VISIBLE, Gpu
from genifer.training import resume

COMMAND = """
import os, sys
from genifer.runtime import gpu_lease

class Notice:
    def find_spec(self, name, *_):
        if name == "torch" and name not in sys.modules:
            print("PyTorch sees", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)

assert "torch" not in sys.modules
sys.meta_path.insert(0, Notice())
gpu_lease.SECONDS_UNTIL_MESSAGE = gpu_lease.SECONDS_BETWEEN_TRIES = 0.1
from genifer.cli import main
main()
"""
"""The command line, which says what PyTorch sees when it is imported."""


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gpu]]:
    with pretended_gpus(2, tmp_path, monkeypatch) as gpus:
        yield gpus


def start(folder: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pretraining(chain: Chain, folder: Path, **runtime: object) -> list[str | Path]:
    run_file = write_run_file(folder, runtime={"jobs_per_gpu": 1, "trackers": []} | runtime)
    return ["pretrain-classifier", "--config", run_file, "--output", "job", chain.data(0)]


@pytest.mark.parametrize("job", ["pretrain-classifier", "train", "pretrain-gan", "train-gan"])
def test_each_training_sees_its_gpu(job: str, chain: Chain, gpus: list[Gpu], tmp_path: Path) -> None:
    settings = settings_with(gan={"ada": {"mode": "none"}})
    arguments = chain.inputs(settings, tmp_path / "chain")
    run_file = write_run_file(tmp_path, gan={"ada": {"mode": "none"}})
    taken = take_lease(gpus[:1], 16)
    assert taken is not None
    process = start(tmp_path, job, "--config", run_file, "--output", "job", *arguments[job])
    out, err = process.communicate(timeout=60)
    taken.release()
    assert process.returncode == 0, err
    assert out == f"PyTorch sees {gpus[1].uuid}\n"
    assert f"reserved {gpus[1]}" in err


def test_a_training_waits_for_a_gpu(
    chain: Chain, gpus: list[Gpu], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says for which; the other one does not tempt it, because the variable names one."""
    taken = take_lease(gpus[1:], 1)
    assert taken is not None
    monkeypatch.setenv(VISIBLE, "1")
    process = start(tmp_path, *pretraining(chain, tmp_path))
    assert process.stderr is not None
    message = process.stderr.readline()
    for part in (
        f"waits for a GPU. Other trainings use {gpus[1]}",
        "runtime.jobs_per_gpu: 1",
        "--resources gpu=1",
    ):
        assert part in message
    assert process.poll() is None
    taken.release()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == f"PyTorch sees {gpus[1].uuid}\n"


def test_a_training_shares_a_gpu(chain: Chain, gpus: list[Gpu], tmp_path: Path) -> None:
    """As the workflow passes the setting."""
    taken = [take_lease(gpus, 2) for _ in range(3)]
    options = ["--runtime", "{jobs_per_gpu: 2}"]
    process = start(tmp_path, *pretraining(chain, tmp_path), *options)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == f"PyTorch sees {gpus[1].uuid}\n"
    for lease in taken:
        assert lease is not None
        lease.release()


def test_a_training_on_the_cpu_takes_none(chain: Chain, gpus: list[Gpu], tmp_path: Path) -> None:
    taken = take_lease(gpus[:1], 1), take_lease(gpus[1:], 1)
    process = start(tmp_path, *pretraining(chain, tmp_path), "--device", "cpu")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "PyTorch sees None\n"
    for lease in taken:
        assert lease is not None
        lease.release()


def test_resume_state_of_a_process_that_saw_more_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    state = resume._random_state()
    resume._set_random_state(state | {"cuda": [torch.zeros(1), torch.ones(1)]})
    assert restored == [torch.zeros(1)]
