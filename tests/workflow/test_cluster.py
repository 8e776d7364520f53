"""The Slurm profile: what it asks of a cluster, and a run through it with stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from support import in_process
from support.commands import ROOT, call, make_clone, write_run_file

PROFILES = ROOT / "workflow" / "profiles"
ALIKE = ("rerun-incomplete", "max-checksum-file-size", "rerun-triggers")


def profile(name: str) -> dict[str, object]:
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text())


def test_the_profiles_agree_on_what_is_made_again() -> None:
    for key in ALIKE:
        assert profile("slurm")[key] == profile("default")[key], key


def test_the_profile_asks_for_a_gpu_for_every_training(tmp_path: Path) -> None:
    """In Snakemake's own words: of all jobs, those with the resource gpu, and no others, insist on one."""
    clone = make_clone(tmp_path)
    done = call(["snakemake", "--dry-run", "--workflow-profile", "slurm"], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    rule, trainings = "", 0
    for line in done.stdout.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].removesuffix(":")
        elif line.startswith("    resources: ") and rule != "all":
            asks = "gpu=1" in line
            trainings += asks
            assert ("device=cuda" in line, "slurm_partition=gpu" in line) == (asks, asks), (
                f"{rule}: a rule that does not train belongs to set-resources of "
                "workflow/profiles/slurm/config.yaml"
            )
    assert trainings == 21


def test_a_machine_that_only_submits_needs_no_gpu() -> None:
    assert in_process.genifer("check", "--elsewhere", "--config", ROOT / "config" / "config.yaml") == 0


STAND_IN = ROOT / "tests" / "support" / "stand_ins" / "slurm.py"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which stand-ins for Slurm's commands, put on the path, note what they are asked for."""
    folder, commands = tmp_path / "slurm", tmp_path / "slurm" / "bin"
    commands.mkdir(parents=True)
    for name in ("sbatch", "srun", "sacct", "sacctmgr", "sinfo", "scancel", "scontrol", "squeue"):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_SLURM", str(folder))
    return folder


@pytest.mark.slow
def test_a_run_through_slurm(slurm: Path, tmp_path: Path) -> None:
    """Each job is a submission; a training that Slurm stopped is submitted again and resumes.

    No stand-in has a GPU, so trainings ask for one but compute on the CPU. That the submitting machine
    has none must not matter: it would refuse so long a run.
    """
    clone = make_clone(tmp_path / "clone")
    path = clone / "workflow" / "profiles" / "slurm" / "config.yaml"
    path.write_text(path.read_text().replace("device: cuda", "device: auto"))
    run_file = write_run_file(
        clone,
        methods=["finetune"],
        scenario={"tasks": [5, 5]},
        pretrain_classifier={"steps": 400},
        runtime={"max_cpu_hours": 1e-9},
    )
    (slurm / "stop").write_text("pretrain_classifier")
    done = call(
        ["snakemake", "--workflow-profile", "slurm", "--configfile", run_file,
         "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1",
         "--latency-wait", "5"],
        clone,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + (slurm / "output").read_text()
    results = clone / "results" / "quickstart"
    assert set(pd.read_csv(results / "accuracy.csv")["after_task"]) == {0, 1}
    log = results / "jobs" / "seed_0" / "shared" / "task_0" / "pretrain_classifier" / "log.txt"
    assert "resumes after step" in log.read_text()

    requests = (slurm / "requests").read_text().splitlines()
    trainings = [request for request in requests if "train_finetune" in request or "pretrain_" in request]
    assert len(trainings) == 3
    for request in requests:
        gpu = request in trainings
        assert ("--gpus=1" in request) == gpu
        assert f"-p {'gpu' if gpu else 'cpu'} " in request
        assert "-A my_account" in request
        assert f"-t {1440 if gpu else 60} " in request
