"""The report of a run, as a person opens it: one page, from disk."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import call, write_run_file
from PIL import Image

GROUPS = {"Accuracy", "Forgetting", "Replay", "Run", "Training"}


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
    assert shown == {path for path in there if path.suffix != ".svg"}
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
    caption = text(results["results/quickstart/plots/replay_agreement.png"]["caption"])
    assert f"The last GAN: {mean:.0f} %" in caption


def test_the_landing_page_tells_machine_versions_and_costs(page: str, recorded: Path) -> None:
    costs = pd.read_csv(recorded / "results" / "quickstart" / "costs.csv")
    trained = costs[costs["stage"].str.contains("train")]
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
