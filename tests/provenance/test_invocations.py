"""The provenance of a run: what each invocation has made, from which commit, with which settings and packages."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.in_process import genifer

from genifer.config import plain
from genifer.errors import GeniferError
from genifer.provenance import environment, invocations
from genifer.provenance.environment import command_line, source_of
from genifer.provenance.invocations import begin_invocation, end_invocation
from genifer.run_file import load_settings, parse_settings

COMMAND = ["/opt/bin/snakemake", "--cores", "2"]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of a run, below that in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setattr(invocations, "environment", lambda: {"packages": {"torch": "2"}})
    folder = Path("results/a")
    folder.mkdir(parents=True)
    return folder


def invoke(results: Path, jobs: list[str] | None, *, succeeded: bool = True, **settings: Any) -> None:
    """An invocation that makes these jobs; None: Snakemake is killed."""
    begin_invocation(results, parse_settings({"run": "a"} | settings, "a test"), COMMAND, None)
    if jobs is not None:
        end_invocation(results, jobs, succeeded)


def content_of(results: Path) -> dict[str, Any]:
    return json.loads((results / "provenance.json").read_text())


def test_invocations_are_kept(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and environments that several have in common are there once."""
    invoke(results, ["train_gan", "evaluate", "train_gan"], succeeded=False)
    invoke(results, None)
    monkeypatch.setattr(invocations, "environment", lambda: {"packages": {"torch": "3"}})
    invoke(results, ["plot_costs"], seeds=[0, 1])
    content = content_of(results)
    assert content["run"] == "a"
    first, killed, last = content["invocations"]
    assert first["command"] == "snakemake --cores 2"
    assert (first["succeeded"], first["jobs"]) == (False, {"evaluate": 1, "train_gan": 2})
    assert first["began"] <= first["ended"]
    assert (killed["succeeded"], killed["ended"], killed["jobs"]) == (None, None, None)
    assert killed["settings"] == first["settings"] != last["settings"]
    assert [content["settings"][each["settings"]]["seeds"] for each in (first, last)] == [[0], [0, 1]]
    versions = [content["environments"][each["environment"]]["packages"]["torch"] for each in (killed, last)]
    assert versions == ["2", "3"]
    assert (len(content["settings"]), len(content["environments"])) == (2, 2)


def test_an_invocation_that_makes_nothing_leaves_no_trace(results: Path) -> None:
    invoke(results, [], succeeded=False)
    assert not (results / "provenance.json").exists()
    invoke(results, ["tabulate"])
    before = content_of(results)
    invoke(results, [], succeeded=False, seeds=[7])
    assert content_of(results) == before


def test_the_last_settings_are_a_run_file(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invoke(results, ["tabulate"], seeds=[3])
    settings = {"seeds": [4], "data": {"archive": str(Path.home() / "images.zip"), "dataset": "image_folder"}}
    invoke(results, ["tabulate"], **settings)
    assert str(Path.home()) not in (results / "provenance.json").read_text()
    capsys.readouterr()
    assert genifer("settings", "--run", "a") == 0
    run_file = Path("again.yaml")
    run_file.write_text(capsys.readouterr().out)
    assert plain(load_settings(run_file)) == plain(parse_settings({"run": "a"} | settings, "a test"))
    assert yaml.safe_load(run_file.read_text())["seeds"] == [4]


def test_what_cannot_be_read_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert genifer("settings", "--run", "a") == 1
    assert "results/a/provenance.json: does not exist" in capsys.readouterr().err
    for damaged in ("{", "[]", '{"invocations": {}, "settings": {}, "environments": {}}'):
        (results / "provenance.json").write_text(damaged)
        with pytest.raises(GeniferError, match=r"provenance.json: cannot be read .* dvc checkout"):
            invoke(results, ["tabulate"])


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=A User", "-c", "user.email=user@example.org"]
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_the_code(tmp_path: Path) -> None:
    code = tmp_path / "genifer" / "__init__.py"
    code.parent.mkdir()
    code.touch()
    assert source_of(tmp_path) == {"commit": None}
    git(tmp_path, "init", "--quiet")
    (tmp_path / "other").touch()
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "--quiet", "--message", "Another project's repository")
    assert source_of(tmp_path) == {"commit": None}
    git(tmp_path, "add", "genifer")
    git(tmp_path, "commit", "--quiet", "--message", "The code")
    git(tmp_path, "remote", "add", "origin", "https://user:secret@example.org/genifer.git")
    commit = git(tmp_path, "rev-parse", "HEAD")
    address = "https://example.org/genifer.git"
    assert source_of(tmp_path) == {"commit": commit, "clean": True, "changed": [], "repository": address}
    code.write_text("# Changed.\n")
    (tmp_path / "genifer" / "new.py").touch()
    source = source_of(tmp_path)
    assert (source["clean"], source["changed"]) == (False, ["genifer/__init__.py", "genifer/new.py"])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("git@example.org:a/b.git", "example.org:a/b.git"),
        ("ssh://user@example.org/a/b", "ssh://example.org/a/b"),
        ("/home/user/genifer", None),
        ("file:///home/user/genifer", None),
        ("", None),
    ],
)
def test_addresses_name_no_user(
    url: str, shown: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"remote": url, "rev-parse": "c0ffee\n"}
    monkeypatch.setattr(environment, "_git", lambda _, command, *__: answers.get(command, ""))
    assert source_of(tmp_path)["repository"] == shown


def test_commands_show_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.chdir(tmp_path)
    arguments = ["/home/user/.venv/bin/snakemake", "--storage-s3-secret-key", "abc", "--storage-s3-token=def"]
    arguments += ["--configfile", "/home/user/a.yaml", str(tmp_path / "b.yaml"), "--config", "run=a b"]
    assert command_line(arguments) == (
        "snakemake --storage-s3-secret-key ... --storage-s3-token=... "
        "--configfile '~/a.yaml' b.yaml --config 'run=a b'"
    )
