"""Variants and plugins, as users run them: in a run file, with no other file touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image
from support.commands import ROOT, TINY, call, make_clone, merged, planned
from support.data_files import write_npz

ONCE = {
    *("tabulate", "tabulate_replay", "tabulate_training", "tabulate_costs", "write_tables"),
    *("plot_accuracy", "plot_forgetting", "plot_replay", "plot_training", "plot_costs"),
}


def write(folder: Path, **changes: Any) -> str:
    (folder / "run.yaml").write_text(yaml.safe_dump(merged(TINY, changes), sort_keys=False))
    return "run.yaml"


def trained(jobs: set[str]) -> set[str]:
    return {job for job in jobs if "train" in job.split()[0] and not job.startswith(("tabulate", "plot"))}


def test_adding_and_removing_a_variant_retrains_nothing_of_the_others(recorded: Path) -> None:
    plain = {"genifer": {}, "finetune": {}, "joint": {}}
    with_labels = {"mine": {"method": "genifer"}, **plain}
    jobs = planned(recorded, write(recorded, methods=with_labels))
    assert trained(jobs) == set()
    assert {job for job in jobs if job.startswith("evaluate group=mine")} == {
        f"evaluate group=mine seed=0 task={task}" for task in (1, 2)
    }

    other = {"no-ada": {"method": "genifer", "gan": {"ada": {"mode": "none"}}}}
    jobs = planned(recorded, write(recorded, methods=other | plain))
    groups = {job.split()[1] for job in trained(jobs)}
    assert groups == {"group=shared+gan.ada.mode=none", "group=genifer+gan.ada.mode=none"}

    jobs = planned(recorded, write(recorded, methods=["genifer", "joint"]))
    assert jobs <= ONCE


@pytest.mark.slow
def test_plugins_of_a_user(tmp_path: Path) -> None:
    """A method and a data set in one file each, outside the checkout: run, compared, reported; then edited."""
    user, clone = tmp_path / "user", make_clone(tmp_path / "clone")
    user.mkdir()
    for name in ("mas.py", "npz_dataset.py"):
        shutil.copy(ROOT / "docs" / "examples" / name, user / f"my_{name}")
    write_npz(user / "cells.npz")
    before = {path: path.read_bytes() for path in clone.rglob("*.*") if path.is_file()}
    run_file = write(
        clone,
        plugins=[str(user / "my_mas.py"), str(user / "my_npz_dataset.py")],
        methods={"finetune": {}, "mas": {}, "strict": {"method": "mas", "mas": {"strength": 1e4}}},
        mas={"steps": 3},
        data={"dataset": "npz", "archive": str(user / "cells.npz")},
        scenario={"tasks": [2, 3], "class_order": "sorted"},
        runtime={"device": "cpu", "threads": 1},
    )
    done = call(["snakemake", "--configfile", run_file], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr

    results = clone / "results" / "quickstart"
    summary = pd.read_csv(results / "summary.csv")
    assert summary["method"].tolist() == ["finetune", "mas", "strict"]
    assert {path.stem for path in (results / "metrics").iterdir()} == {"finetune", "mas", "strict"}
    training = results / "jobs" / "seed_0" / "mas" / "task_1" / "train_mas"
    assert "penalty" in pd.read_csv(training / "metrics.csv").columns
    assert "3 steps" in (training / "log.txt").read_text()
    for name in ("confusion_strict", "training_mas", "forgotten_classes_mas"):
        with Image.open(results / "plots" / f"{name}.png") as image:
            assert min(image.size) > 80
    assert call(["snakemake", "--configfile", run_file, "--report", "report.html"], clone).returncode == 0
    assert "strict" in (clone / "report.html").read_text()
    assert {path: path.read_bytes() for path in before} == before

    assert planned(clone, run_file) == set()
    with (user / "my_mas.py").open("a") as file:
        file.write("# An edit.\n")
    jobs = planned(clone, run_file)
    assert {job.split()[0] for job in trained(jobs)} == {"train_mas"}
    assert "prepare_data" not in jobs
    assert not any("finetune" in job for job in jobs)
    with (user / "my_npz_dataset.py").open("a") as file:
        file.write("# An edit.\n")
    assert "prepare_data" in planned(clone, run_file)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plugins": ["gone.py"]}, ["plugins: gone.py cannot be read"]),
        ({"methods": ["icarl"]}, ["methods.icarl", "'icarl' is not known"]),
        ({"methods": {"A": {"method": "lwf"}, "a": {"method": "lwf"}}}, ["differ only in case"]),
    ],
)
def test_a_mistake_stops_the_run_before_it_starts(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    clone = make_clone(tmp_path)
    done = call(["snakemake", "--configfile", write(clone, **changes)], clone)
    message = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert [word for word in words if word not in message] == [], message
    assert "Traceback" not in message
    assert not (clone / "results").exists()


def test_what_settings_shows_of_a_plugin(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "examples" / "mas.py", tmp_path / "mine.py")
    run_file = write(tmp_path, plugins=["mine.py"])
    shown = call(["genifer", "settings", "--config", run_file], tmp_path).stdout
    assert yaml.safe_load(shown)["mas"]["strength"] == 1.0
    schema = json.loads(call(["genifer", "settings", "--config", run_file, "--schema"], tmp_path).stdout)
    assert "mas" in schema["properties"]
    assert (
        "Elastic weight consolidation" in call(["genifer", "methods", "--config", run_file], tmp_path).stdout
    )
