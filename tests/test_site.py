"""The documentation site: it builds without a complaint, and what it has can be found.

`mkdocs build --strict` fails for links and anchors that lead nowhere, and for pages that mkdocs.yml does not list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
from support.commands import ROOT, call
from support.documents import markdown_files

from genifer.cli import app
from genifer.config import registry_of
from genifer.run_file import flat_settings
from genifer.settings_model import settings_model

REFERENCES = ("settings", "method-settings", "commands")
RESOURCES = {"script": "src", "img": "src", "link": "href", "iframe": "src"}
"""Tags by which a page loads something, and the attribute that says what."""


class Html(HTMLParser):
    """A page's links, what it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attributes if value is not None}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if RESOURCES.get(tag) in given:
            self.resources.append(given[RESOURCES[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = call(["mkdocs", "build", "--strict", "--site-dir", folder])
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Html]:
    # The links of 404.html start at the root of a server.
    return {path: Html(path) for path in site.rglob("*.html") if path.name != "404.html"}


def html_of(markdown: Path) -> str:
    path = markdown.relative_to(ROOT)
    return str(path.with_name("index.html") if path.stem == "README" else path.with_suffix(".html"))


def test_the_search_finds_every_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    texts: dict[str, str] = {}
    for entry in index["docs"]:
        page = entry["location"].partition("#")[0]
        texts[page] = texts.get(page, "") + entry["text"]
    expected = {html_of(path) for path in markdown_files()} | {
        f"reference/{name}.html" for name in REFERENCES
    }
    assert expected == {page for page, text in texts.items() if text}
    # Pages that show code are left to the links.
    assert "gan.r1_gamma" in texts["reference/settings.html"]


def test_every_page_is_in_the_navigation(site: Path, pages: dict[Path, Html]) -> None:
    navigation = {(site / link).resolve() for link in pages[site / "index.html"].links}
    assert [page for page in map(html_of, markdown_files()) if site / page not in navigation] == []


def test_all_that_pages_lead_to_is_there(site: Path, pages: dict[Path, Html]) -> None:
    wrong = []
    for path, html in pages.items():
        for link in html.links + html.resources:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                wrong.append(f"{path.relative_to(site)}: {link}")
    assert not wrong


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, Html]) -> None:
    elsewhere = {link for html in pages.values() for link in html.resources if urlsplit(link).netloc}
    assert not elsewhere


def test_diagrams_are_drawn_by_a_mermaid_of_the_site(site: Path, pages: dict[Path, Html]) -> None:
    """The theme loads Mermaid over the network for elements of its class, unless a page has loaded one."""
    front = site / "index.html"
    is_here = "docs/site/mermaid.min.js" in pages[front].resources
    assert 'class="mermaid"' not in front.read_text() or is_here
    assert "pretrain_gan --&gt; train_genifer" in front.read_text() or is_here


def test_links_to_code_lead_to_pages_that_show_it(site: Path) -> None:
    assert "class_order" in (site / "config" / "config.yaml.html").read_text()
    assert "lwf.py.html" in (site / "genifer" / "methods" / "index.html").read_text()


def test_every_setting_is_described_under_its_name(site: Path, pages: dict[Path, Html]) -> None:
    settings = flat_settings(settings_model(registry_of([]))().model_dump(mode="json"))
    described = [pages[site / "reference" / f"{name}.html"] for name in REFERENCES[:2]]
    anchors = described[0].anchors | described[1].anchors
    assert {"gan.ada.target", "lwf.optimizer.name"} <= set(settings) <= anchors
    page = (site / "reference" / "settings.html").read_text()
    for words in (
        "Default: <code>0.5</code>. Allowed: a number above -1 and below 1.",
        "Default: <code>4</code>. Allowed: a whole number from 0 to 6.",
        "Default: <code>null</code>. Allowed: a path, or <code>null</code>.",
        "Default: <code>[tensorboard]</code>. Allowed: a list (each entry: <code>tensorboard</code>, ",
        "Default: <code>auto</code>. Allowed: <code>auto</code>, or <code>true</code> or <code>false</code>.",
        "a 3 x 3 convolution, for images up to 64 pixels",
    ):
        assert words in page


def test_every_command_and_option_is_described(site: Path, pages: dict[Path, Html]) -> None:
    page = (site / "reference" / "commands.html").read_text()
    for command, options in commands():
        assert f"genifer-{command}" in pages[site / "reference" / "commands.html"].anchors
        section = page.partition(f'id="genifer-{command}"')[2].partition("<h2")[0]
        assert [option for option in options if option not in section] == []


def commands() -> Iterator[tuple[str, list[str]]]:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    for name, command in group.commands.items():
        yield name, [option for parameter in command.params for option in parameter.opts if option[0] == "-"]
