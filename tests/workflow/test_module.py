"""The workflow as a module of another one: from a local path and from a git host, in another working folder."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from support.commands import ROOT, TINY, call, make_clone, merged, planned
from support.documents import documents, written_files

PAGE = next(document for document in documents() if document.name == "docs/use-from-another-workflow.md")
PREFIX = "genifer_"
STUDY = merged(TINY, {"run": "study", "methods": ["finetune"]})


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A user's folder with the files of the page, and the tiny run as settings of the module."""
    folder = tmp_path / "user"
    for name, text in written_files(PAGE).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    write_settings(folder, {"study": STUDY})
    return folder


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(settings))


def from_path(folder: Path, clone: Path, **changes: str) -> None:
    """Let the user's Snakefile take the module from a clone, and replace other parts of it."""
    path = folder / "workflow" / "Snakefile"
    text = path.read_text()
    source = 'github("OWNER/genifer", path="workflow/Snakefile", tag="v0.1.0")'
    assert source in text
    text = text.replace(source, f'"../../{clone.name}/workflow/Snakefile"')
    for part, replacement in changes.items():
        assert part in text
        text = text.replace(part, replacement)
    path.write_text(text)


def dry_run(folder: Path) -> subprocess.CompletedProcess[str]:
    return call(["snakemake", "--dry-run"], folder)


def jobs_of_the_study(folder: Path) -> set[str]:
    jobs = planned(folder, "config/config.yaml")
    assert "conclude" in jobs
    return {job.removeprefix(PREFIX) for job in jobs - {"conclude", f"{PREFIX}all"}}


@pytest.fixture
def own_jobs(tmp_path: Path) -> set[str]:
    """The jobs of the same run by itself."""
    clone = make_clone(tmp_path / "clone")
    (clone / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return planned(clone, "study.yaml")


def test_a_module_from_a_path_has_the_jobs_of_the_run(user: Path, own_jobs: set[str], tmp_path: Path) -> None:
    from_path(user, tmp_path / "clone")
    assert jobs_of_the_study(user) == own_jobs


def test_a_module_from_a_git_host_has_the_jobs_of_the_run(
    user: Path, own_jobs: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's Snakefile as it is; git fetches github.com from a local repository."""
    hosted = tmp_path / "hosted" / "OWNER" / "genifer"
    hosted.parent.mkdir(parents=True)
    shutil.copytree(tmp_path / "clone" / "workflow", hosted / "workflow")
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "All"],
        ["tag", "v0.1.0"],
    ):
        assert call(["git", *command], hosted).returncode == 0
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{tmp_path}/hosted/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert jobs_of_the_study(user) == own_jobs


def test_a_rule_can_be_changed(user: Path, tmp_path: Path) -> None:
    """As the page says; Snakemake then reads the module twice, with the same settings."""
    changed = "use rule evaluate from genifer as genifer_evaluate with:"
    assert changed in PAGE.prose
    make_clone(tmp_path / "clone")
    general = "use rule * from genifer as genifer_*\n"
    from_path(user, tmp_path / "clone", **{general: f"{general}\n{changed}\n    threads: 4\n"})
    done = call(["snakemake", "-n", "--verbose", "--cores", "4"], user)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("    threads: 4\n") == 3


def test_rules_under_their_own_names(user: Path, own_jobs: set[str], tmp_path: Path) -> None:
    """As Snakedeploy writes them, with all of the config as settings."""
    write_settings(user, STUDY)
    (user / "workflow" / "Snakefile").write_text(
        f"""
configfile: "config/config.yaml"


module genifer:
    snakefile:
        "{tmp_path}/clone/workflow/Snakefile"
    config:
        config


use rule * from genifer
"""
    )
    assert planned(user, "config/config.yaml") == own_jobs


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({'config["study"]': '{"run": "study", "seeds": []}'}, ["settings: seeds", "at least one value"]),
        ({'config["study"]': 'config["study"]\n    prefix: "deep"'}, ["prefix", "not allowed", "'run'"]),
    ],
    ids=["a setting", "a prefix of paths"],
)
def test_what_is_refused_is_named(
    user: Path, tmp_path: Path, changes: dict[str, str], words: list[str]
) -> None:
    make_clone(tmp_path / "clone")
    from_path(user, tmp_path / "clone", **changes)
    done = dry_run(user)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert [word for word in words if word not in said] == [], said
    assert "Traceback" not in said


def test_rules_without_the_package_say_what_to_install(user: Path, tmp_path: Path) -> None:
    """As rules from a git host in an environment without it; here the clone lacks it, and no other is to be found."""
    clone = make_clone(tmp_path / "clone")
    shutil.rmtree(clone / "genifer")
    hide = "import importlib.util\nfind = importlib.util.find_spec\n"
    hide += 'importlib.util.find_spec = lambda name, *_: None if name == "genifer" else find(name, *_)\n'
    from_path(user, clone, **{"configfile:": f"{hide}\n\nconfigfile:"})
    done = dry_run(user)
    assert done.returncode != 0
    assert "genifer is not installed" in done.stdout + done.stderr
    assert "pip install git+https" in done.stdout + done.stderr


def test_the_pages_profile_is_that_of_the_workflow() -> None:
    """Without the style sheet, which lies in this repository."""
    given = yaml.safe_load(written_files(PAGE)["profiles/default/config.yaml"])
    profile = yaml.safe_load((ROOT / "workflow" / "profiles" / "default" / "config.yaml").read_text())
    del profile["report-stylesheet"]
    assert given == profile


def test_the_page_names_the_current_version() -> None:
    from genifer import __version__

    texts = [PAGE.prose, *(block.text for block in PAGE.blocks)]
    assert sum(text.count(f"v{__version__}") for text in texts) == 3


@pytest.mark.slow
def test_a_module_runs_to_its_end(user: Path, recorded: Path, tmp_path: Path) -> None:
    """Its results are those of the run by itself; the jobs use the code that the rules come from."""
    clone = make_clone(tmp_path / "clone")
    where = "\n\nrule where:\n    output:\n        'where.txt'\n"
    where += "    shell:\n        'python -P -c \"import genifer; print(genifer.__file__)\" > {output}'\n"
    from_path(
        user,
        clone,
        **{'"results/conclusion.txt",\n\n': '"results/conclusion.txt",\n        "where.txt",\n\n'},
    )
    snakefile = user / "workflow" / "Snakefile"
    snakefile.write_text(snakefile.read_text() + where)
    done = call(["snakemake"], user)
    assert done.returncode == 0, done.stdout + done.stderr
    results = user / "results" / "study"
    expected = pd.read_csv(recorded / "results" / "quickstart" / "accuracy.csv").query("method == 'finetune'")
    expected = expected.reset_index(drop=True).assign(run="study")
    pd.testing.assert_frame_equal(pd.read_csv(results / "accuracy.csv"), expected)
    header, row = (user / "results" / "conclusion.txt").read_text().splitlines()
    assert (header, row.split(",")[0]) == ("method,final_accuracy_mean", "finetune")
    assert (user / "where.txt").read_text() == f"{clone}/genifer/__init__.py\n"
    assert json.loads((results / "plan.json").read_text())["succeeded"]
    assert (results / "records.json").is_file()
    assert "Nothing to be done" in dry_run(user).stdout
    done = call(["snakemake", "--report", "report.html"], user)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "study" in (user / "report.html").read_text()
