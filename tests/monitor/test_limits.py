"""Time limits of trainings, written into a profile of Snakemake."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.commands import ROOT, call, make_clone, write_run_file

from genifer.errors import GeniferError
from genifer.monitor.limits import limits, write_limits

Genifer = Callable[..., subprocess.CompletedProcess[str]]
SITE = ROOT / "workflow" / "profiles" / "site.example" / "config.yaml"


def test_a_limit_is_twice_the_estimate_and_no_longer_than_allowed() -> None:
    assert limits({"train_gan": 3.0, "pretrain_gan": 100.0}, max_minutes=1440) == {
        "train_gan": "min(370 * attempt, 1440)",
        "pretrain_gan": "min(12010 * attempt, 1440)",
    }


def test_the_rest_of_a_profile_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    shutil.copy(SITE, path)
    path.write_text(path.read_text() + "set-resources:\n  train_gan: {mem_mb: 9000, runtime: 7}\n")
    before = path.read_text()
    write_limits(path, {"train_gan": "min(20 * attempt, 60)", "train_lwf": "12"})
    content = yaml.safe_load(path.read_text())
    assert content.pop("set-resources") == {
        "train_gan": {"mem_mb": 9000, "runtime": "min(20 * attempt, 60)"},
        "train_lwf": {"runtime": "12"},
    }
    assert content == yaml.safe_load(SITE.read_text())
    assert [line for line in before.splitlines() if line.startswith("#")] == [
        line for line in path.read_text().splitlines() if line.startswith("#")
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "'key: value' lines"),
        ("set-resources: [a]\n", "must be a mapping from rules"),
        ("set-resources: {train_gan: 3}\n", "must be a mapping from rules"),
        ("a: [\n", "cannot be read as a Snakemake profile"),
    ],
)
def test_what_is_no_profile(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(GeniferError, match=words):
        write_limits(path, {"train_gan": "12"})
    assert path.read_text() == text


def test_doctor_writes_them_and_snakemake_reads_them(tmp_path: Path) -> None:
    """Of a run, and of the runs of a grid, whose rules have other names."""
    clone = make_clone(tmp_path / "clone")
    run_file = write_run_file(clone, methods=["finetune"], runtime={"device": "cpu"})
    grid_file = clone / "grid.yaml"
    labels = {"short": str(run_file), "other": [str(run_file), {"finetune": {"steps": 4}}]}
    grid_file.write_text(yaml.safe_dump({"grid": "g", "axes": {"a": labels}, "reference": "finetune"}))
    site = clone / "workflow" / "profiles" / "site" / "config.yaml"
    for file in (run_file, grid_file):
        done = call(
            ["genifer", "doctor", "--config", file, "--write-limits", site, "--max-minutes", "99"], clone
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "train_finetune" in done.stdout
    rules = ("pretrain_classifier", "train_finetune")
    content = yaml.safe_load(site.read_text())
    assert set(content["set-resources"]) == {
        prefix + rule for prefix in ("", "g-short_", "g-other_") for rule in rules
    }
    profiles = ["--profile", site.parent, "--workflow-profile", "slurm"]
    for snakefile, file in (("Snakefile", run_file), ("grid.smk", grid_file)):
        done = call(
            [
                "snakemake",
                "--dry-run",
                "--verbose",
                "--snakefile",
                f"workflow/{snakefile}",
                *profiles,
                "--configfile",
                file,
            ],
            clone,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        trainings = [line for line in done.stdout.splitlines() if "resources: " in line and "gpu=1" in line]
        assert trainings
        # More than the ten minutes that every training gets.
        assert all(10 < int(re.findall(r"runtime=(\d+)", line)[0]) <= 99 for line in trainings), trainings


def test_none_are_written_for_a_run_that_would_be_stopped(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path, data={"dataset": "image_folder", "archive": "nowhere"})
    done = genifer("doctor", "--config", run_file, "--write-limits", tmp_path / "site.yaml")
    assert done.returncode == 1
    assert "site.yaml: no limits were written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "site.yaml").exists()
