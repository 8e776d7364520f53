"""Sizes of tasks as papers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genifer.config import plain
from genifer.errors import GeniferError
from genifer.registry import registry
from genifer.run_file import parse_settings
from genifer.settings_model import settings_model
from genifer.task_sizes import fitting_tasks, parse_tasks, tasks_text


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("50 + 5 x 10", [50] + 5 * [10]),
        ("50 + 10 x 5", [50] + 10 * [5]),
        ("40+20x3", [40] + 20 * [3]),
        ("10 x 10", 10 * [10]),
        ("4", [4]),
        ("4 + 2 × 3 + 1", [4, 3, 3, 1]),  # noqa: RUF001
    ],
)
def test_texts_are_read(text: str, tasks: list[int]) -> None:
    assert parse_tasks(text) == tasks


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_what_is_written_is_read_back(tasks: list[int]) -> None:
    assert parse_tasks(tasks_text(tasks)) == tasks


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(2, 120))
def test_what_is_suggested_fits(tasks: list[int], n_classes: int) -> None:
    fitting = fitting_tasks(tasks, n_classes)
    assert fitting
    assert all(sum(one) == n_classes and min(one) > 0 for one in fitting)


def test_a_text_gives_the_settings_of_its_list() -> None:
    """So fingerprints, jobs' settings and reports are those of the list."""
    by_text = parse_settings({"scenario": {"tasks": "50 + 10 x 5"}}, "test")
    by_list = parse_settings({"scenario": {"tasks": [50] + 10 * [5]}}, "test")
    assert plain(by_text) == plain(by_list)
    assert plain(by_text)["scenario"]["tasks"] == [50] + 10 * [5]


@pytest.mark.parametrize("text", ["", "50 + ", "50 + 5 * 10", "0 x 5", "5 x 0", "-5", "999999999 x 5", "ten"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(GeniferError) as refusal:
        parse_settings({"scenario": {"tasks": text}}, "run.yaml")
    assert str(refusal.value).startswith(f"run.yaml: scenario.tasks is '{text}'; write '50 + 5 x 10'")


def test_a_misfit_names_what_fits() -> None:
    with pytest.raises(GeniferError) as refusal:
        parse_settings({"scenario": {"tasks": "50 + 5 x 9"}}, "run.yaml")
    assert "add up to 95 classes, but cifar100 has 100" in str(refusal.value)
    assert "such as '55 + 5 x 9' or '50 + 5 x 10'" in str(refusal.value)


def test_editors_accept_both() -> None:
    schema = settings_model(registry()).model_json_schema()
    kinds = schema["$defs"]["ScenarioSettings"]["properties"]["tasks"]["anyOf"]
    assert [kind["type"] for kind in kinds] == ["array", "string"]
