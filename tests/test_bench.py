"""`genifer bench` measures what a run's trainings do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from commands import write_run_file

Genifer = Callable[..., subprocess.CompletedProcess[str]]


def test_all_of_it(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path, runtime={"device": "cpu"})
    options = ["--config", run_file, "--steps", "1", "--repeats", "2"]
    done = genifer("bench", *options, "--ada-p", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    found = {figures["name"]: figures for figures in json.loads(done.stdout)["figures"]}
    trainings = [name for name in found if name.startswith(("GAN, ", "classifier, "))]
    assert len(trainings) == 4
    for name in trainings:
        figures = found[name]
        assert 0 < figures["fastest"] <= figures["seconds"] <= figures["slowest"]
        assert figures["images"] > 0
        assert figures["operations"] > 0
        assert figures["memory"] > 0
    assert found["GAN, the first task"]["note"] == "ADA probability 0.2"
    assert set(found["GAN, the first task"]["parts"]) >= {"discriminator's step", "generator's step"}
    # Nothing else is computed for a later task than for the first, but what the old generator makes.
    assert found["GAN, a later task"]["operations"] > found["GAN, the first task"]["operations"]
    assert "of the time at one every 5 minutes" in found["resume file, written"]["note"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [run_file.name]


def test_one_thing(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path)
    options = ["--config", run_file, "--device", "cpu", "--steps", "1", "--repeats", "1"]
    done = genifer("bench", "classifier", *options)
    assert done.returncode == 0, done.stderr
    assert "classifier, the first task" in done.stdout
    assert "GAN" not in done.stdout
    refused = genifer("bench", "classifier", *options, "--precision", "fp8")
    assert refused.returncode == 1
    assert "--precision: fp8" in refused.stderr
