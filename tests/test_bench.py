"""`genifer bench` measures what a run's trainings do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import write_run_file
from PIL import Image

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
    assert found["data, prepared"]["seconds"] > found["data of a task, read"]["seconds"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [run_file.name]


def test_one_thing(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path)
    options = ["--config", run_file, "--device", "cpu", "--steps", "1", "--repeats", "1"]
    done = genifer("bench", "classifier", *options)
    assert done.returncode == 0, done.stderr
    assert "classifier, the first task" in done.stdout
    assert "GAN" not in done.stdout
    refused = genifer("bench", "classifier", *options, "--precision", "fp8")
    assert refused.returncode != 0
    assert "fp8" in refused.stderr
    refused = genifer("bench", "classifier", *options, "--plot", "growth.png")
    assert refused.returncode == 1
    assert "genifer bench growth --plot growth.png" in refused.stderr


@pytest.mark.slow
def test_growth(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path, runtime={"device": "cpu"})
    options = ["--config", run_file, "--steps", "1", "--repeats", "1"]
    plot = tmp_path / "growth.png"
    done = genifer("bench", "growth", *options, "--plot", plot, "--json")
    assert done.returncode == 0, done.stderr
    found = {figures["name"]: figures for figures in json.loads(done.stdout)["figures"]}
    operations = {name: figures["operations"] for name, figures in found.items()}
    step = "classifier, a later task"
    # 990 rows of a readout are much for a network as small as this.
    assert operations[f"classes 1000, {step}"] < 1.3 * operations[f"classes 10, {step}"]
    assert operations[f"tasks 50, {step}"] == pytest.approx(operations[f"tasks 5, {step}"], rel=0.01)
    assert operations[f"image size 128, {step}"] > 30 * operations[f"image size 16, {step}"]
    with Image.open(plot) as picture:
        assert picture.width > 2 * picture.height


@pytest.mark.slow
def test_data_of_the_papers_size(genifer: Genifer, tmp_path: Path) -> None:
    run_file = tmp_path / "run.yaml"
    run_file.write_text("run: paper\n")
    done = genifer("bench", "data", "--config", run_file, "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr
    prepared, read = json.loads(done.stdout)["figures"]
    assert "times the 185 MB of images" in prepared["note"]
    assert float(prepared["note"].split()[3]) < 3
    assert read["note"] == "77 MB"
