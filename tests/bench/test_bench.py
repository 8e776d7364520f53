"""`genifer bench` measures what a run's trainings do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from support.commands import write_run_file

from genifer.registry import registry

Genifer = Callable[..., subprocess.CompletedProcess[str]]


def test_all_of_it(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path, runtime={"device": "cpu"}, methods=["genifer", "lwf"])
    options = ["--config", run_file, "--steps", "1", "--repeats", "2"]
    done = genifer("bench", *options, "--ada-p", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    found = {figures["name"]: figures for figures in json.loads(done.stdout)["figures"]}
    trainings = [name for name in found if name.startswith(("GAN, ", "classifier, "))]
    assert trainings == [
        "GAN, first task",
        "GAN, later task",
        "classifier, first task",
        "classifier, later task (genifer)",
        "classifier, later task (lwf)",
    ]
    for name in trainings:
        figures = found[name]
        assert 0 < figures["fastest"] <= figures["seconds"] <= figures["slowest"]
        assert figures["images"] > 0
        assert figures["operations"] > 0
        assert figures["memory"] > 0
    assert found["GAN, first task"]["note"] == "ADA probability 0.2"
    assert set(found["GAN, first task"]["parts"]) >= {"discriminator step", "generator step"}
    # Nothing else is computed for a later task than for the first, except the teacher's samples.
    assert found["GAN, later task"]["operations"] > found["GAN, first task"]["operations"]
    assert "of the time with one every 5 minutes" in found["resume file, write"]["note"]
    assert found["data, prepare"]["seconds"] > found["data of a task, read"]["seconds"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [run_file.name]


def test_one_thing(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path)
    options = ["--config", run_file, "--device", "cpu", "--steps", "1", "--repeats", "1"]
    done = genifer("bench", "classifier", *options)
    assert done.returncode == 0, done.stderr
    assert "classifier, first task" in done.stdout
    assert "GAN" not in done.stdout
    refused = genifer("bench", "classifier", *options, "--precision", "fp8")
    assert refused.returncode != 0
    assert "fp8" in refused.stderr
    refused = genifer("bench", "classifier", *options, "--plot", "growth.png")
    assert refused.returncode == 1
    assert "genifer bench growth --plot growth.png" in refused.stderr


def test_every_method_that_trains(genifer: Genifer, tmp_path: Path) -> None:
    """Also those that change other blocks, and with an inversion of thousands of steps before the first one."""
    methods = registry().methods
    long = {"inversion_steps": 100_000}
    run_file = write_run_file(tmp_path, methods=list(methods), abd=long, rdfcil=long)
    options = ["--config", run_file, "--device", "cpu", "--steps", "1", "--repeats", "1", "--json"]
    done = genifer("bench", "next-task", *options)
    assert done.returncode == 0, done.stderr
    found = {figures["name"]: figures["operations"] for figures in json.loads(done.stdout)["figures"]}
    training = [name for name, method in methods.items() if method.Settings().steps]
    assert list(found) == [f"classifier, later task ({name})" for name in training]
    assert all(found.values())


def test_data_sets_without_an_archive_to_make_up(genifer: Genifer, tmp_path: Path) -> None:
    plugin = tmp_path / "birds.py"
    plugin.write_text(
        "from genifer.data.dataset import Dataset\n\n\n"
        "class Birds(Dataset):\n"
        '    """Birds."""\n\n'
        '    name = "birds"\n'
        '    archive = "download"\n'
        '    archive_format = "birds.npz"\n'
        '    url = "https://example.org/birds.npz"\n\n'
        "    @classmethod\n"
        "    def load(cls, archive, settings):\n"
        '        raise ValueError("it is empty")\n'
    )
    run_file = write_run_file(tmp_path, plugins=["birds.py"], data={"dataset": "birds"})
    done = genifer("bench", "data", "--config", run_file, "--device", "cpu", "--repeats", "1")
    assert done.returncode == 1
    assert "data.dataset: birds has not been downloaded yet" in done.stderr
    assert "--output results/downloads/birds/birds.npz" in done.stderr
    archive = tmp_path / "results" / "downloads" / "birds" / "birds.npz"
    archive.parent.mkdir(parents=True)
    archive.touch()
    done = genifer("bench", "data", "--config", run_file, "--device", "cpu", "--repeats", "1")
    assert done.returncode == 1
    assert f"{archive.relative_to(tmp_path)} cannot be read by data set birds" in done.stderr


@pytest.mark.slow
def test_growth(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path, runtime={"device": "cpu"})
    options = ["--config", run_file, "--steps", "1", "--repeats", "1"]
    plot = tmp_path / "growth.png"
    done = genifer("bench", "growth", *options, "--plot", plot, "--json")
    assert done.returncode == 0, done.stderr
    found = {figures["name"]: figures for figures in json.loads(done.stdout)["figures"]}
    operations = {name: figures["operations"] for name, figures in found.items()}
    step = "classifier, later task (genifer)"
    # 990 rows of a head are much for a network as small as this.
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
    assert "times the 185 MB of images, libraries excluded; made-up archive" in prepared["note"]
    assert float(prepared["note"].split()[1]) < 3
    assert read["note"] == "77 MB"
