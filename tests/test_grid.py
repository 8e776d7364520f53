"""Grids: the runs that the axes give, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import TINY

from genifer.errors import GeniferError
from genifer.grid import parse_grid

SCENARIOS = {"a": {"scenario": {"tasks": "5 + 5"}}, "b": {"scenario": {"tasks": "4 + 3 x 2"}}}


@pytest.fixture
def run_file(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return str(path)


def test_every_combination_is_a_run(run_file: str) -> None:
    """Later axes override earlier ones, lists in their order, and settings beside the axes everything."""
    narrow = {"classifier": {"width": 2}, "genifer": {"steps": 2}}
    axes = {
        "data": {"digits": run_file},
        "scenario": SCENARIOS,
        "size": {"narrow": narrow, "wide": [narrow, {"classifier": {"width": 8}}]},
    }
    grid = parse_grid({"grid": "g", "axes": axes, "seeds": [3, 4], "genifer": {"steps": 5}}, "grid")
    assert list(grid.runs) == ["g-digits-a-narrow", "g-digits-a-wide", "g-digits-b-narrow", "g-digits-b-wide"]
    settings = {name: layout.settings for name, layout in grid.layouts.items()}
    assert {name: run.run for name, run in settings.items()} == {name: name for name in settings}
    assert [run.classifier.width for run in settings.values()] == [2, 8, 2, 8]
    assert [run.scenario.tasks for run in settings.values()][1:3] == [[5, 5], [4, 2, 2, 2]]
    assert all(run.seeds == [3, 4] and run.genifer.steps == 5 for run in settings.values())
    assert grid.results[0] == "results/g-digits-a-narrow"
    assert "results/grids/g/comparison.csv" in grid.comparison


def test_variants_of_several_files_add_up(run_file: str) -> None:
    """As with several run files after --configfile."""
    methods = {
        "variants": [{"methods": {"genifer": {}}}, {"methods": {"finetune": {}}}],
        "list": {"methods": ["genifer"]},
    }
    grid = parse_grid({"grid": "g", "axes": {"data": {"d": run_file}, "methods": methods}}, "grid")
    assert [layout.labels for layout in grid.layouts.values()] == [["genifer", "finetune"], ["genifer"]]


def test_one_archive_is_downloaded_once(run_file: str) -> None:
    paper = {"paper": {"scenario": {"tasks": "50 + 5 x 10"}}, "even": {"scenario": {"tasks": "10 x 10"}}}
    axes = {"scenario": paper | {"digits": run_file}}
    grid = parse_grid({"grid": "g", "axes": axes}, "grid")
    assert [grid.shares_download(run) for run in grid.runs] == [False, True, False]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": "../up"}, ["grid: grid: '../up'", "not allowed"]),
        ({"axes": {}}, ["axes", "at least one"]),
        ({"axes": {"data": {}}}, ["axes has no values for 'data'"]),
        ({"axes": {"data": {"a/b": {}}}}, ["axes has the label 'a/b' in 'data'", "letters"]),
        ({"axes": {"data": {"a": "nowhere.yaml"}}}, ["nowhere.yaml: cannot be read"]),
        ({"axes": {"data": {"a": {"gan": {"batch_size": 48}}}}}, ["grid: g-a: gan.batch_size", "48"]),
        ({"axes": {"a": {"x": {}, "x-y": {}}, "b": {"y-z": {}, "z": {}}}}, ["would be called g-x-y-z"]),
        ({"reference": "lwf"}, ["reference: 'lwf'", "genifer, finetune, joint"]),
        ({"axis": 3}, ["g-a: axis does not exist"]),
        ({"axes": None}, ["axes", "config/grid.yaml"]),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(GeniferError) as refusal:
        parse_grid({"grid": "g", "axes": {"data": {"a": {}}}} | changes, "grid")
    message = str(refusal.value)
    assert [word for word in words if word not in message] == [], message
