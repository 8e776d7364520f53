"""Tables as HTML pages."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from support.made_up_run import made_up_run

from genifer.errors import GeniferError
from genifer.layout import Layout
from genifer.report.pages import PAGES, write_tables


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return made_up_run(tmp_path, methods=["genifer", "joint"], scenario={"tasks": [3, 2, 1]}, seeds=[0, 1])


def columns(page: str) -> dict[str, list[str]]:
    """The cells of a page's table by their heading."""
    rows = [
        [unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    ]
    return {heading: [row[index] for row in rows[1:]] for index, heading in enumerate(rows[0])}


def test_every_page_of_the_layout(layout: Layout) -> None:
    """Those that compare methods say which of them use images of old tasks."""
    results = Path(layout.results)
    write_tables(results, **layout.table_settings["write_tables"], output=results / "tables")
    pages = {path.stem: path.read_text() for path in (results / "tables").iterdir()}
    assert set(pages) == set(PAGES)
    for name, page in pages.items():
        note = "joint uses the images of all tasks so far; the other method uses no images of old tasks."
        assert (note in page) == (name in ("summary", "accuracy", "forgotten_classes"))
    summary = columns(pages["summary"])
    assert summary["old images"] == ["none", "all"]
    assert summary["seeds"] == ["2", "2"]
    assert "±" in summary["average incremental accuracy, without the first task"][0]
    costs = columns(pages["costs"])
    assert costs["job"][-1] == "all"
    assert costs["device"][-1] == "A machine"
    assert "train_gan, task 1" in costs["job"]


def test_one_seed_and_one_task(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["finetune"], scenario={"tasks": [3]})
    results = Path(layout.results)
    write_tables(results, **layout.table_settings["write_tables"], output=results / "tables")
    page = (results / "tables" / "summary.html").read_text()
    assert columns(page)["forgetting"] == [""]
    assert "No method uses images of old tasks." in page
    assert not (results / "tables" / "replay.html").exists()


def test_an_order_per_seed(tmp_path: Path) -> None:
    """Pages name seeds and order; a class has no task."""
    scenario = {"tasks": [3, 2, 1], "class_order": "seed"}
    layout = made_up_run(tmp_path, methods=["genifer"], scenario=scenario, seeds=[3, 4])
    results = Path(layout.results)
    write_tables(results, **layout.table_settings["write_tables"], output=results / "tables")
    pages = {path.stem: path.read_text() for path in (results / "tables").iterdir()}
    for name in ("summary", "accuracy", "forgotten_classes"):
        assert "The class order is drawn from the seed (3 and 4)" in pages[name]
    forgotten = columns(pages["forgotten_classes"])
    assert len(set(forgotten["class"])) == len(forgotten["class"])
    assert "task" not in forgotten
    replay = columns(pages["replay"])
    assert "task of class" not in replay
    pairs = list(zip(replay["GAN of task"], replay["class"], strict=True))
    assert len(set(pairs)) == len(pairs)


def test_unknown_and_missing_tables_are_refused(layout: Layout) -> None:
    results = Path(layout.results)
    with pytest.raises(GeniferError, match="no table 'wealth'; choose from summary, accuracy"):
        write_tables(results, ["wealth"], results)
    (results / "summary.csv").unlink()
    with pytest.raises(GeniferError, match=r"summary.csv: is missing"):
        write_tables(results, ["accuracy"], results)
