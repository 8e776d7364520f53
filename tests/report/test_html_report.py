"""The report of a run, written by `genifer report`: what it opens with, what it shows in which order, and how."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml
from PIL import Image
from support.commands import ROOT, call, write_run_file
from support.in_process import genifer, run
from support.made_up_run import made_up_run

from genifer.config import plain
from genifer.layout import Layout

METHODS = {"joint": {}, "genifer": {}, "tuned": {"method": "genifer", "gan": {"matching_stage": 3}}}
"""Neither in the order of the alphabet nor in that of the paper."""

RECORDS = {
    "files": {
        "a": {"sha256": "", "record": {"starttime": 1_800_000_000.0, "endtime": 1_800_000_060.0}},
        "b": {"sha256": "", "record": {"starttime": 1_800_086_400.0, "endtime": 1_800_086_400.0}},
    }
}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="540pt" height="360pt"><text>{}</text></svg>'


def write_plots(layout: Layout) -> None:
    """Files in place of the plots, of which an SVG file has its name as its text."""
    for path in [Path(path) for path in layout.final if "/plots/" in path]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        if path.suffix == ".svg":
            path.write_text(SVG.format(path.stem))
        elif path.suffix == ".png":
            Image.new("L", (900, 600)).save(path, compress_level=0)


def made_up(folder: Path, **settings: Any) -> Layout:
    stated = {"run": "birds", "methods": METHODS, "scenario": {"tasks": [4, 3, 3]}, "seeds": [2, 0]}
    layout = made_up_run(folder, **stated | settings)
    write_plots(layout)
    Path(layout.results, "records.json").write_text(json.dumps(RECORDS))
    invocation = {
        "began": "2027-01-16T08:00:00+00:00",
        "ended": None,
        "command": "snakemake --config '<b>'",
        "source": {"commit": "0123456789abcdef", "clean": False},
        "jobs": {"evaluate": 3, "tabulate": 1},
        "settings": "a",
        "environment": "b",
    }
    provenance = {
        "invocations": [invocation],
        "settings": {"a": plain(layout.settings)},
        "environments": {"b": {"python": "3.0", "packages": {"torch": "99.9"}}},
    }
    Path(layout.results, "provenance.json").write_text(json.dumps(provenance))
    return layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return made_up(tmp_path)


def report(layout: Layout) -> str:
    """The page that the command writes for a run's folder."""
    assert genifer("report", layout.results) == 0
    return Path(layout.results, "report.html").read_text()


def shown(page: str) -> list[str]:
    """Names of the plots in a page, in order."""
    return re.findall(r"<text>(.*?)</text>", "\n".join(embedded(page)))


def embedded(page: str) -> list[str]:
    return [
        base64.b64decode(uri).decode() for uri in re.findall(r"data:image/svg\+xml;base64,([^\"]*)", page)
    ]


def section(page: str, title: str) -> str:
    (found,) = re.findall(rf"<section id=\"{title.lower()}\">.*?</section>", page, re.DOTALL)
    return found


def text(html: str) -> str:
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split())


def test_it_opens_with_plot_table_and_facts(layout: Layout) -> None:
    page = report(layout)
    opening = page[: page.index("<h2>")]
    assert shown(opening) == ["accuracy"]
    said = text(opening)
    summary = pd.read_csv(layout.table("summary")).set_index("method")
    minutes = pd.read_csv(layout.table("budget")).groupby("method")["minutes"].mean()
    positions = []
    for method, values in summary.iterrows():
        metrics = [
            f"{100 * values[f'{name}_mean']:.1f} ± {100 * values[f'{name}_std']:.1f}"
            for name in ("average_incremental_accuracy", "final_accuracy", "forgetting")
        ]
        row = f"{method} {' '.join(metrics)} {minutes[method]:.1f}"
        assert row in said
        positions.append(said.index(row))
    assert list(summary.index) == list(METHODS)
    assert positions == sorted(positions)
    facts = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", opening, re.DOTALL)
    assert [name for name, _ in facts] == ["Data set", "Scenario", "Date", "Commit", "Cost", "Machine"]
    told = {name: text(value) for name, value in facts}
    assert told["Data set"].startswith("image_folder, 32 x 32 px, RGB; evaluated on 100 test images")
    assert told["Scenario"].startswith("4 + 3 + 3 classes; class order 1993, seeds 2 and 0")
    assert told["Date"] == "15 January 2027 to 16 January 2027"
    assert told["Commit"] == "0123456789, with uncommitted changes"
    assert told["Machine"] == "A machine; precision fp32"
    assert opening.index("<dt>") > opening.index("</table>")


def test_each_plot_is_shown_once_in_its_section_and_in_the_order_of_the_run_file(layout: Layout) -> None:
    page = report(layout)
    names = {Path(path).stem for path in layout.final if path.endswith(".svg")}
    assert sorted(shown(page)) == sorted(names)
    results = shown(section(page, "Results"))
    assert results[0] == "budget"
    assert results[-3:] == [f"confusion_{method}" for method in METHODS]
    replay = shown(section(page, "Replay"))
    assert replay[:2] == ["replay_agreement_genifer", "replay_agreement_tuned"]
    assert shown(section(page, "Forgetting"))[0] == "forgetting"
    assert "gan" in shown(section(page, "Training"))[0]
    assert shown(section(page, "Costs")) == ["costs"]
    titles = ["Results", "Replay", "Forgetting", "Training", "Costs", "Settings", "Provenance", "Files"]
    assert re.findall("<h2>(.*?)</h2>", page) == titles


def test_captions_stand_below_their_plots(layout: Layout) -> None:
    page = report(layout)
    replay = section(page, "Replay")
    agreement = replay[: replay.index("<h3>Distance of replay")]
    shared = text(agreement[agreement.index("replay_agreement_tuned.svg") :])
    assert (
        "Share of each GAN's replay that the classifier assigns to the requested class (means over 2 seeds)"
        in shared
    )
    assert agreement.count("what this one does not recognise") == 1
    # Captions with numbers of one GAN: each its own.
    replayed = pd.read_csv(layout.table("replay"))
    of_gan = replayed[
        (replayed["method"] == "tuned") & (replayed["seed"] == 2) & (replayed["after_task"] == 1)
    ]
    (figure,) = [one for one in figures(replay) if "replay_tuned_seed_2_task_1.svg" in one]
    assert f"assigns to the requested class: {100 * of_gan['agreement'].mean():.0f} %, lowest" in text(figure)
    # Sentences of a condition and of a loop are apart.
    assert "(means over 2 seeds). joint: " in text(section(page, "Forgetting"))
    for caption in re.findall(r"<div class=\"caption\">(.*?)</div>", page, re.DOTALL):
        assert len(text(caption)) > 40
    assert "system-message" not in page


def figures(page: str) -> list[str]:
    return re.findall(r"<figure.*?</figure>", page, re.DOTALL)


def test_plots_of_further_seeds_are_folded(layout: Layout) -> None:
    replay = section(report(layout), "Replay")
    folded = "".join(re.findall(r"<details.*?</details>", replay, re.DOTALL))
    grids = [name for name in shown(replay) if name.startswith(("replay_tuned", "nearest_tuned"))]
    assert grids
    assert [name for name in grids if name in shown(folded)] == [name for name in grids if "_seed_0_" in name]


def test_it_needs_no_other_file_and_no_script(layout: Layout) -> None:
    page = report(layout)
    assert "<script" not in page
    assert set(re.findall(r"\ssrc=\"(\w+:)", page)) == {"data:"}
    assert "url(" not in page
    links = re.findall(r"href=\"([^\"]*)\"", page)
    anchors = set(re.findall(r"\sid=\"([^\"]*)\"", page))
    for link in links:
        there = link[1:] in anchors if link.startswith("#") else Path(layout.results, unquote(link)).exists()
        assert there, link
    assert {"plots/accuracy.svg", "plots/accuracy.png", "accuracy.csv"} <= set(links)


def test_the_smaller_file_of_a_plot_is_embedded(layout: Layout) -> None:
    folder = Path(layout.results, "plots")
    (folder / "costs.svg").write_text(SVG.format("costs" * 1_000_000))
    page = report(layout)
    (figure,) = figures(section(page, "Costs"))
    assert "data:image/png;base64," in figure
    # 900 x 600 pixels at 150 per inch, in CSS pixels.
    assert 'width="576" height="384"' in figure
    assert all('width="720" height="480"' in other for other in figures(section(page, "Forgetting")))


def test_text_of_users_is_no_markup(tmp_path: Path) -> None:
    name = "<b>&`*cat*`_|</b>"
    layout = made_up(tmp_path, plugins=[], data={"dataset": "image_folder", "archive": "<b>.zip"})
    for table, column, old in (
        ("confusion", "class_name", "a class named 0"),
        ("replay", "class_name", "a class named 0"),
        ("costs", "machine", "A machine"),
    ):
        content = pd.read_csv(layout.table(table), dtype=str, keep_default_na=False)
        content[column] = content[column].replace(old, name)
        content.to_csv(layout.table(table), index=False)
    page = report(layout)
    assert "<b>" not in page
    assert f"Machine {name}" in text(page)
    assert "<b>.zip" in text(section(page, "Settings"))
    assert name in text(section(page, "Forgetting"))


def test_settings_are_those_of_the_run(layout: Layout) -> None:
    settings = section(report(layout), "Settings")
    said = text(settings)
    assert "scenario.tasks [4, 3, 3] [50, 10, 10, 10, 10, 10]" in said
    (all_of_them,) = re.findall("<pre>(.*?)</pre>", settings, re.DOTALL)
    stated = yaml.safe_load(unescape(all_of_them))
    assert stated["methods"] == METHODS
    assert stated["gan"]["r1_gamma"] == layout.settings.gan.r1_gamma


def test_recorded_provenance_is_shown(layout: Layout) -> None:
    said = text(section(report(layout), "Provenance"))
    assert (
        "16 January 2027, 08:00 did not end 4 0123456789, with uncommitted changes snakemake --config '<b>'"
        in said
    )
    assert "python 3.0 packages.torch 99.9" in said


def test_snakemakes_report_is_linked_if_it_is_there(layout: Layout) -> None:
    assert "report-snakemake.html" not in report(layout)
    Path(layout.results, "report-snakemake.html").touch()
    assert 'href="report-snakemake.html"' in report(layout)


def test_a_run_with_one_task_and_one_method(tmp_path: Path) -> None:
    layout = made_up(tmp_path, methods=["finetune"], scenario={"tasks": [3]}, seeds=[0])
    page = report(layout)
    assert "<h2>Replay</h2>" not in page
    assert not re.search(r"\b(nan|None)\b", text(page[: page.index("<h2>Settings")]))


def test_an_unfinished_run_says_what_is_missing(layout: Layout, capfd: pytest.CaptureFixture[str]) -> None:
    for path in layout.final:
        if path.endswith(".html"):
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).touch()
    for path in Path(layout.results, "plots").glob("forgetting.*"):
        path.unlink()
    page = report(layout)
    assert "This run is not finished" in text(page)
    assert "plots/forgetting" in text(page)
    assert shown(section(page, "Forgetting"))[0] == "forgotten_classes_joint"
    Path(layout.table("summary")).unlink()
    code, said = run(capfd, "report", layout.results)
    assert code == 1
    assert "no finished run of this name" in said


def test_ways_to_name_a_run(layout: Layout, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    parts = {
        "a.yaml": {"run": "birds", "seeds": [7], "scenario": {"tasks": [4, 3, 3]}},
        "b.yaml": {"seeds": [2, 0], "methods": METHODS},
    }
    parts["a.yaml"]["data"] = {"dataset": "image_folder", "archive": "images.zip"}
    for name, content in parts.items():
        (tmp_path / name).write_text(yaml.safe_dump(content, sort_keys=False))
    named = report(layout)
    page = tmp_path / "elsewhere" / "page.html"
    configs = [part for name in parts for part in ("--config", tmp_path / name)]
    assert genifer("report", *configs, "--results", tmp_path, "--output", page) == 0
    assert text(page.read_text()) == text(named)
    assert 'href="../birds/plots/accuracy.svg"' in page.read_text()
    for arguments, message in (
        (["birds", "--config", tmp_path / "a.yaml"], "name either runs"),
        (["birds", "birds", "--output", page], "is one file, but there are 2 runs"),
        (["eagles"], "there are: birds"),
    ):
        code, said = run(capfd, "report", *arguments, "--results", tmp_path)
        assert code == 1
        assert message in said
    path = Path(layout.results, "provenance.json")
    path.write_text("{")
    code, said = run(capfd, "report", layout.results)
    assert (code, "cannot be read as the provenance" in said) == (1, True)
    path.unlink()
    code, said = run(capfd, "report", layout.results)
    assert (code, "name its run file instead" in said) == (1, True)
    assert genifer("report", *configs, "--results", tmp_path) == 0
    assert "Commit" in text(Path(layout.results, "report.html").read_text())


@pytest.fixture(scope="module")
def finished(recorded: Path) -> Path:
    """The folder of a finished run, with both reports."""
    write_run_file(recorded)
    done = call(["genifer", "report", "--config", "tiny.yaml", "--with-snakemake"], recorded)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["results/quickstart/report.html"]
    return recorded / "results" / "quickstart"


def test_a_real_run_with_snakemakes_report(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert page.count("<img") == len(list((finished / "plots").glob("*.svg")))
    assert 'href="report-snakemake.html"' in page
    assert "Run quickstart" in (finished / "report-snakemake.html").read_text()
    assert "not finished" not in page
    assert re.search(r"Date \d+ \w+ 20\d\d, \d\d:\d\d to \d\d:\d\d UTC", text(page))


@pytest.mark.slow
def test_in_a_browser(finished: Path, tmp_path: Path) -> None:
    """Chromium shows every plot, and nothing sticks out of a narrow window."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    asks = """<script>
    for (const one of document.querySelectorAll("details")) one.open = true;
    for (const image of document.images) image.loading = "eager";
    addEventListener("load", () => {
      const broken = [...document.images].filter(image => !image.naturalWidth).length;
      document.title = [broken, innerWidth, document.documentElement.scrollWidth].join(" ");
    });
    </script></body>"""
    page = tmp_path / "page.html"
    page.write_text((finished / "report.html").read_text().replace("</body>", asks))
    for width in (500, 1366):
        options = [
            *["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"],
            *["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"],
            *[f"--user-data-dir={tmp_path}/{width}", f"--window-size={width},768"],
            *["--virtual-time-budget=10000", "--host-resolver-rules=MAP * ~NOTFOUND"],
        ]
        command = [chromium, *options, "--dump-dom", page.as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        assert f"<title>0 {width} {width}</title>" in dom


def test_every_caption_of_the_layout_has_a_text_and_a_heading(layout: Layout) -> None:
    from genifer.report.html_report.sections import TITLES

    pictures = [picture for figure in layout.figures for picture in figure.pictures]
    pictures += [picture for job in layout.drawn_gans for picture in layout.sample_grids_of(job)]
    for picture in [*pictures, *layout.pages]:
        assert picture.caption in TITLES
        assert (ROOT / "workflow" / "report" / f"{picture.caption}.rst").is_file()
