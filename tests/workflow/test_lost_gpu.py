"""A GPU that fails during a run: the rest of the run goes on, and the same command finishes it on the other GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import call, make_clone, write_run_file
from support.pretended_gpus import pretended_gpus

from genifer.runtime.gpus import Gpu

PLUGIN = '''
"""Finetuning, whose GPU fails in the second step of its first training."""

import os
import shutil
from pathlib import Path

from genifer.methods import Method


class Unlucky(Method):
    name = "unlucky"
    steps_begun = 0

    def draw_batch(self):
        self.steps_begun += 1
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES")  # not in the check before the run, which times a step
        if gpu and self.steps_begun == 2 and not Path("failed").exists():
            Path("failed").write_text(gpu)
            lists_gpus = Path(shutil.which("nvidia-smi"))
            lines = lists_gpus.read_text().splitlines(keepends=True)
            other = lists_gpus.with_name("nvidia-smi.new")
            other.write_text("".join(line for line in lines if gpu not in line))
            other.chmod(0o755)
            other.replace(lists_gpus)
            raise RuntimeError("CUDA error: unspecified launch failure")
        return super().draw_batch()
'''


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gpu]]:
    with pretended_gpus(2, tmp_path, monkeypatch) as gpus:
        yield gpus


def test_the_rest_of_the_run_goes_on(gpus: list[Gpu], tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    (clone / "unlucky.py").write_text(PLUGIN)
    run_file = write_run_file(
        clone, methods=["unlucky", "finetune"], plugins=["unlucky.py"], unlucky={"steps": 3}
    )
    table = "results/quickstart/accuracy.csv"  # it needs every evaluation
    command = ["snakemake", table, "--cores", "2", "--configfile", run_file, "--keep-going", "--resources"]
    done = call([*command, "gpu=2"], clone)
    assert done.returncode == 1
    (lost,) = (gpu for gpu in gpus if gpu.uuid == (clone / "failed").read_text())
    (left,) = (gpu for gpu in gpus if gpu != lost)
    said = " ".join(done.stderr.split())
    assert said.count(f"{lost} has failed: nvidia-smi no longer lists it") == 1, said
    assert "CUDA error: unspecified launch failure" in said
    assert "Traceback" not in said
    jobs = clone / "results" / "quickstart" / "jobs" / "seed_0"
    for task in (1, 2):
        assert list((jobs / "finetune" / f"task_{task}" / "evaluate").iterdir())
        assert not (jobs / "unlucky" / f"task_{task}" / "evaluate").exists()

    done = call([*command, "gpu=1"], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"reserved {left}" in (jobs / "unlucky" / "task_1" / "train_unlucky" / "log.txt").read_text()
    assert (clone / table).is_file()
