"""Captions, rendered from made-up runs; and the report of a run as a person opens it: one page, from disk."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from docutils.core import publish_parts
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from support.commands import ROOT, call, write_run_file
from support.made_up_run import made_up_run
from support.published import write_published

from genifer.layout import Layout
from genifer.report.captions import Captions, escaped
from genifer.report.phrases import listed, old_images_note, over_seeds
from genifer.run_file import parse_settings

PLUGIN = """
from genifer.methods import Method

class Hoarder(Method):
    \"\"\"Keeps images.\"\"\"
    name = "hoarder_"
    stores_exemplars = True
"""


def rendered(layout: Layout, caption: str, **wildcards: str) -> str:
    """A caption as text, by Jinja and Docutils as Snakemake does it."""
    environment = Environment(
        loader=FileSystemLoader(ROOT / "workflow" / "report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    captions = Captions(layout)
    context = SimpleNamespace(config={"captions": lambda: captions}, wildcards=SimpleNamespace(**wildcards))
    source = environment.get_template(f"{caption}.rst").render(snakemake=context)
    html = publish_parts(source, writer="html5")["html_body"]
    assert "system-message" not in html, html
    return text(html)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    plugin = tmp_path / "hoarder.py"
    plugin.write_text(PLUGIN)
    published = write_published(
        tmp_path / "published.csv",
        ["Old", "image_folder", "4 + 2 x 3", "final_accuracy", "all classes", "61.5", "A_paper, Table 1"],
        ["New", "image_folder", "4 + 2 x 3", "final_accuracy", "", "62", "B"],
        ["Not here", "cifar100", "4 + 2 x 3", "final_accuracy", "", "62", "C"],
    )
    return made_up_run(
        tmp_path,
        run="birds",
        plugins=[str(plugin)],
        methods={
            "genifer": {},
            "tuned": {"method": "genifer", "gan": {"matching_stage": 3, "r1_gamma": 0.25}},
            "hoarder_": {},
            "joint": {},
        },
        scenario={"tasks": [4, 3, 3]},
        seeds=[0, 5],
        plots={"published": str(published)},
    )


def test_every_caption_can_be_rendered(layout: Layout) -> None:
    for path in (ROOT / "workflow" / "report").glob("*.rst"):
        gan = {"group": "tuned", "seed": "5", "task": "1"} if path.stem in ("replay", "nearest") else {}
        caption = rendered(layout, path.stem, **gan)
        assert len(caption) > 40, path
        assert not re.search(r"[{}]|nan|None|not recorded", caption), caption


def test_captions_of_a_single_task_and_of_the_defaults(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["finetune"], scenario={"tasks": [3]})
    assert "fine-tuned" not in rendered(layout, "forgotten_classes")
    assert "No method uses images of old tasks." in rendered(layout, "table_summary")
    paper = Layout(parse_settings({}, "defaults"))
    assert Captions(paper).settings_that_differ == []


def test_a_method_that_forgets_nothing(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["finetune"], scenario={"tasks": [3, 2]})
    path = Path(layout.table("confusion"))
    table = pd.read_csv(path)
    assert "(from " in rendered(layout, "forgotten_classes")
    table.assign(predicted=table["label"]).to_csv(path, index=False)
    assert "finetune: no class lost accuracy." in rendered(layout, "forgotten_classes")


def test_captions_of_an_order_per_seed(tmp_path: Path) -> None:
    scenario = {"tasks": [3, 2, 1], "class_order": "seed"}
    layout = made_up_run(tmp_path, methods=["finetune"], scenario=scenario, seeds=[3, 4])
    assert "class order drawn from the seed, seeds 3 and 4" in rendered(layout, "workflow")
    assert "order in which they were learned" not in rendered(layout, "confusion")
    assert "it is not in the last task" in rendered(layout, "forgotten_classes")
    assert "it is not in the last task" in rendered(layout, "table_forgotten_classes")
    one = made_up_run(tmp_path, run="one", methods=["finetune"], scenario={"tasks": [3, 2, 1]}, seeds=[3, 4])
    assert "class order 1993, seeds 3 and 4" in rendered(one, "workflow")
    assert "order in which they were learned" in rendered(one, "confusion")


def test_captions_say_which_methods_use_old_images(layout: Layout) -> None:
    note = (
        "joint uses the images of all tasks so far; hoarder_ stores exemplars (images of old tasks); "
        "the other methods use no images of old tasks."
    )
    for caption in ("accuracy", "table_summary", "table_accuracy", "forgetting", "workflow"):
        assert note in rendered(layout, caption)


def test_the_caption_of_published_figures_names_their_sources(layout: Layout) -> None:
    caption = rendered(layout, "published")
    assert "come from A_paper, Table 1 and B. Their code" in caption
    assert "published.csv" in caption
    assert "final accuracy: all classes or not defined." in caption


def test_the_landing_page_of_a_made_up_run(layout: Layout) -> None:
    landing = rendered(layout, "workflow")
    assert "Run birds" in landing
    assert (
        "4 + 3 + 3 classes with genifer, tuned, hoarder_, joint; class order 1993, seeds 0 and 5" in landing
    )
    assert "A machine; precision fp32" in landing
    methods = "genifer, tuned (method: genifer, gan.matching_stage: 3, gan.r1_gamma: 0.25), hoarder_, joint"
    assert f"methods {methods} genifer, finetune, joint" in landing
    assert f"plugins ['{layout.settings.plugins[0]}'] []" in landing
    assert "seeds [0, 5] [0]" in landing
    # Settings that are the defaults, also a plugin's.
    assert "gan.r1_gamma 0" not in landing
    assert "hoarder_.steps" not in landing


def test_captions_of_gans(layout: Layout) -> None:
    """A shared GAN's numbers are found, though its rows stand under labels."""
    captions = Captions(layout)
    assert captions.n_gans == 2 * 4
    assert captions.matching_stages == "stage 4 for genifer, stage 3 for tuned"
    assert len(captions.agreements) == len(captions.distances) == 2
    group = next(job.group for job in layout.replay_evaluations if job.task == 0)
    table = pd.read_csv(layout.table("replay"))
    of_gan = table[(table["method"] == "genifer") & (table["seed"] == 5) & (table["after_task"] == 0)]
    mean = 100 * of_gan["agreement"].mean()
    assert captions.agreement(group, "5", "0").startswith(f"{mean:.0f} %, lowest for class ")


def test_names_are_no_markup() -> None:
    assert escaped("cat_ *|`\\") == r"cat\_ \*\|\`\\"


@pytest.mark.parametrize(
    ("old_images", "sentence"),
    [
        ({"a": "none"}, "No method uses images of old tasks."),
        ({"a": "all"}, "a uses the images of all tasks so far."),
        (
            {"a": "all", "b": "all", "c": "all", "d": "none"},
            "a, b and c use the images of all tasks so far; the other method uses no images of old tasks.",
        ),
    ],
)
def test_note_on_old_images(old_images: Mapping[str, str], sentence: str) -> None:
    assert old_images_note(old_images) == sentence


def test_phrases() -> None:
    assert [over_seeds(1), over_seeds(3), over_seeds(1, "means"), over_seeds(3, "means")] == [
        "one seed",
        "3 seeds",
        "one seed",
        "means over 3 seeds",
    ]
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"


GROUPS = {"Accuracy", "Forgetting", "Replay", "Run", "Sample grids", "Training"}


@pytest.fixture(scope="module")
def page(recorded: Path) -> str:
    write_run_file(recorded)
    done = call(
        ["snakemake", "--configfile", "tiny.yaml", "--report", "results/quickstart/report.html"], recorded
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return (recorded / "results" / "quickstart" / "report.html").read_text()


def embedded(page: str, name: str) -> Any:
    script = page.split(f'<script id="{name.replace("_", "-")}">')[1]
    return json.JSONDecoder().raw_decode(script.split(f"var {name} = ")[1])[0]


def text(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_every_plot_and_table_is_there_with_a_caption(page: str, recorded: Path) -> None:
    results = embedded(page, "results")
    made = recorded / "results" / "quickstart"
    shown = {Path(path).relative_to("results/quickstart") for path in results}
    there = {path.relative_to(made) for folder in ("plots", "tables") for path in (made / folder).iterdir()}
    assert shown == {path for path in there if path.suffix not in (".svg", ".pdf")}
    assert set(embedded(page, "categories")) == GROUPS
    for path, entry in results.items():
        kind, content = entry["data_uri"].split(",", 1)
        data = base64.b64decode(content)
        assert data == (recorded / path).read_bytes()
        if path.endswith(".png"):
            assert "image/png" in kind
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        else:
            assert "<table" in data.decode()
        caption = text(entry["caption"])
        assert len(caption) > 40, path
        assert not re.search(r"[{}]|nan|None|not recorded", caption), caption


def test_numbers_of_captions_are_the_runs(page: str, recorded: Path) -> None:
    accuracy = pd.read_csv(recorded / "results" / "quickstart" / "accuracy.csv")
    last = accuracy[accuracy["after_task"] == 2].groupby("method")[["n_correct", "n_test"]].sum()
    share = 100 * last["n_correct"] / last["n_test"]
    results = embedded(page, "results")
    caption = text(results["results/quickstart/plots/accuracy.png"]["caption"])
    for method in ("genifer", "finetune", "joint"):
        assert f"{method} {share[method]:.1f} %" in caption
    landing = text(embedded(page, "workflow_desc"))
    assert f"on all {last['n_test'].iloc[0]} test images" in landing
    assert "4 + 3 + 3 classes" in landing
    # A setting that is not the paper's, with both values; and none that is.
    assert "gan.batch_size 8 64" in landing
    assert "gan.r1_gamma" not in landing
    replay = pd.read_csv(recorded / "results" / "quickstart" / "replay.csv")
    mean = 100 * replay[replay["after_task"] == 1]["agreement"].mean()
    caption = text(results["results/quickstart/plots/replay_agreement_genifer.png"]["caption"])
    assert f"genifer: {mean:.0f} %" in caption


def test_the_landing_page_tells_machine_versions_and_costs(page: str, recorded: Path) -> None:
    costs = pd.read_csv(recorded / "results" / "quickstart" / "costs.csv")
    trained = costs[costs["job"].str.contains("train")]
    assert len(trained) == 9
    assert (trained["device"] == "cpu").all()
    assert (costs["seconds"] > 0).all()
    assert trained[["machine", "precision", "threads", "torch", "genifer"]].notna().all(axis=None)
    landing = text(embedded(page, "workflow_desc"))
    assert trained["machine"].iloc[0] in landing
    assert f"torch {trained['torch'].iloc[0]}" in landing
    assert f"in {len(costs)} jobs" in landing


def test_it_needs_no_network(page: str) -> None:
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"'](?!data:)([^\"']+)", page)
    assert not loaded


@pytest.mark.slow
@pytest.mark.usefixtures("page")
def test_in_a_browser(recorded: Path, tmp_path: Path) -> None:
    """Chromium shows the page without a network, and its scripts run without an error."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    options = [
        *["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
        *["--disable-background-networking", "--disable-component-update", "--disable-sync"],
        *[f"--user-data-dir={tmp_path}", "--window-size=1366,768", "--enable-logging=stderr"],
        *["--virtual-time-budget=10000", "--host-resolver-rules=MAP * ~NOTFOUND"],
    ]
    report = (recorded / "results" / "quickstart" / "report.html").as_uri()
    shown = subprocess.run(
        [chromium, *options, "--dump-dom", report], capture_output=True, text=True, timeout=120, check=True
    )
    assert "Run quickstart</h1>" in shown.stdout
    for group in GROUPS:
        assert group in shown.stdout
    said = [line for line in shown.stderr.splitlines() if ":CONSOLE" in line]
    # Snakemake's page logs its description, and uses Tailwind as Tailwind would rather not be used.
    assert [
        line for line in said if "tailwindcss.com should not" not in line and "Run quickstart" not in line
    ] == []
