"""A grid as users run it: several runs in one invocation, with one comparison and one report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from support.commands import TINY, call, make_clone, merged, planned

GRID = ["--snakefile", "workflow/grid.smk", "--configfile"]


def write_grid(folder: Path, **content: Any) -> str:
    (folder / "grid.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return "grid.yaml"


def of_run(run: str, jobs: set[str]) -> set[str]:
    return {job.removeprefix(f"{run}_") for job in jobs if job.startswith(f"{run}_")}


def test_the_grid_that_comes_with_the_project(tmp_path: Path) -> None:
    """Its runs have the jobs that they have by themselves, and one job more compares them."""
    clone = make_clone(tmp_path)
    jobs = planned(clone, "config/grid.yaml", snakefile="workflow/grid.smk")
    runs = [f"bundled-digits-{scenario}" for scenario in ("four-first", "equal", "order-per-seed")]
    changes = {"scenario": {"tasks": "5 x 2"}, "seeds": [0, 1], "methods": ["genifer", "finetune", "ncm"]}
    (clone / "equal.yaml").write_text(yaml.safe_dump(changes))
    assert of_run(runs[1], jobs) == planned(clone, "config/quickstart.yaml", "equal.yaml")
    assert {job for job in of_run(runs[2], jobs) if "prepare" in job} == {
        "prepare_data seed=0",
        "prepare_data seed=1",
    }
    assert jobs == {"compare"} | {f"{run}_{job}" for run in runs for job in of_run(run, jobs)}


def test_scenarios_of_the_paper_share_a_download(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    names = ("50-10x5", "40-20x3", "10x10")
    axes = {"scenario": {name: f"config/scenarios/{name}.yaml" for name in names}}
    jobs = planned(clone, write_grid(clone, grid="paper", axes=axes), snakefile="workflow/grid.smk")
    assert {job for job in jobs if "download" in job} == {"paper-50-10x5_download_data"}
    assert len({job for job in jobs if job.endswith("prepare_data")}) == 3


def test_a_mistake_in_a_run_stops_the_grid(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    axes = {
        "scenario": {
            "good": "config/quickstart.yaml",
            "bad": ["config/quickstart.yaml", {"scenario": {"tasks": "5 + 6"}}],
        }
    }
    done = call(["snakemake", *GRID, write_grid(clone, grid="g", axes=axes)], clone)
    assert done.returncode != 0
    assert (
        "g-bad: scenario.tasks: [5, 6] add up to 11 classes, but digits has 10" in done.stdout + done.stderr
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert not (clone / "results").exists()


@pytest.mark.slow
def test_two_runs_in_one_invocation(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    (clone / "config" / "quickstart.yaml").write_text(yaml.safe_dump(merged(TINY, {"methods": ["finetune"]})))
    axes = {
        "data": {"digits": "config/quickstart.yaml"},
        "scenario": {
            "even": {"scenario": {"tasks": "5 + 5"}},
            "drawn": {"scenario": {"class_order": "seed"}},
        },
    }
    grid = [*GRID, write_grid(clone, grid="two", axes=axes, reference="finetune")]
    done = call(["snakemake", *grid], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    results = clone / "results"
    table = pd.read_csv(results / "grids" / "two" / "comparison.csv")
    assert table[["old_images", "minutes", "stored_mb"]].notna().all(axis=None)
    assert table["scenario"].tolist() == [
        "two-digits-even: 2 x 5 classes",
        "two-digits-drawn: 4 + 2 x 3 classes, class order drawn from the seed (0)",
    ]
    for run in ("two-digits-even", "two-digits-drawn"):
        assert json.loads((results / run / "plan.json").read_text())["succeeded"]
        assert (results / run / "records.json").is_file()
    assert "Nothing to be done" in call(["snakemake", "--dry-run", *grid], clone).stdout
    done = call(["snakemake", *grid, "--report", "report.html"], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (clone / "report.html").read_text()
    found = re.search(r"var categories = (\{.*?\});?\n", page)
    assert found is not None
    categories = json.loads(found[1])
    assert set(categories) == {"two", "two-digits-even", "two-digits-drawn"}
    assert {"Accuracy", "Forgetting", "Training", "Run"} == set(categories["two-digits-drawn"])
    assert "2 runs, each with its plots and tables in a category of its own" in page
