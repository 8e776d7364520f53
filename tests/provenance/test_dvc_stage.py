"""The DVC stage of a run: what it depends on, and that DVC notices when that changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import ROOT, TINY, call, merged, write_run_file

from genifer.errors import GeniferError
from genifer.provenance.dvc import add_stage, stage_inputs
from genifer.run_file import load_settings

PLUGIN = """
from genifer.methods.joint import Joint


class Replay(Joint):
    \"\"\"Joint training under another name.\"\"\"

    name = "replay_all"
    images = "so_far"
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the repository that a DVC stage names, and a plugin."""
    for name in ("dvc.yaml", "genifer", "config"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "workflow").mkdir()
    (tmp_path / "my_methods.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stages(dvc_yaml: Path) -> dict[str, Any]:
    return yaml.safe_load(dvc_yaml.read_text())["stages"]


def test_the_committed_stage_fits_the_run_file(repository: Path) -> None:
    """If not: genifer record --config config/quickstart.yaml, and commit dvc.yaml."""
    run_file = Path("config/quickstart.yaml")
    before = (repository / "dvc.yaml").read_text()
    add_stage(load_settings(run_file), run_file, Path("dvc.yaml"))
    assert (repository / "dvc.yaml").read_text() == before


def test_a_run_depends_on_its_own_methods_and_plugins(repository: Path) -> None:
    variants = {"lwf": {}, "everything": {"method": "replay_all"}, "all_twice": {"method": "replay_all"}}
    run_file = write_run_file(repository, run="mine", methods=variants, plugins=["my_methods.py"])
    relative = run_file.relative_to(repository)
    add_stage(load_settings(run_file), relative, Path("dvc.yaml"))
    stage = stages(repository / "dvc.yaml")["mine"]
    assert stage["cmd"] == f"snakemake --configfile {relative}"
    assert stage["deps"][:2] == ["workflow", "my_methods.py"]
    params = {file: keys for entry in stage["params"] for file, keys in entry.items()}
    assert params["genifer/versions.py"] == ["VERSIONS"]
    assert {"config/config.yaml": None, str(relative): None}.items() <= params.items()
    # The plugin's method extends another one, whose version counts.
    assert params["genifer/methods/joint.py"] == ["Joint.version"]
    named = [*stage["deps"], *params]
    assert "genifer/methods/lwf.py" in named
    assert "genifer/data/sets/digits.py" in named
    assert not {"genifer/methods/genifer.py", "genifer/methods/finetune.py"} & set(named)
    assert {"results/mine/jobs": {"persist": True}} in stage["outs"]
    assert "mine, accuracy" in (repository / "dvc.yaml").read_text()

    write_run_file(repository, run="mine", methods=["finetune"])
    add_stage(load_settings(run_file), relative, Path("dvc.yaml"))
    changed = stages(repository / "dvc.yaml")["mine"]
    assert "my_methods.py" not in changed["deps"]
    assert {"genifer/methods/finetune.py": ["Finetune.version"]} in changed["params"]
    assert changed["outs"] == stage["outs"]
    assert (repository / "dvc.yaml").read_text().count("- mine, accuracy:") == 1


def test_a_plugin_outside_the_repository(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "my_methods.py"
    shutil.copy(repository / "my_methods.py", elsewhere)
    run_file = write_run_file(repository, plugins=[str(elsewhere)])
    with pytest.raises(GeniferError, match="lies outside the repository"):
        stage_inputs(load_settings(run_file), run_file)


def test_dvc_notices_versions_and_plugins(repository: Path) -> None:
    run_file = Path("tiny.yaml")
    settings = merged(TINY, {"methods": ["genifer", "replay_all"], "plugins": ["my_methods.py"]})
    run_file.write_text(yaml.safe_dump(settings))
    stage = {"cmd": "echo done", **stage_inputs(load_settings(run_file), run_file)}
    (repository / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"tiny": stage}}))
    for command in (["dvc", "init", "--no-scm", "--quiet"], ["dvc", "repro", "--quiet"]):
        done = call([*command], repository)
        assert done.returncode == 0, done.stdout + done.stderr

    def changed() -> set[str]:
        status = json.loads(call(["dvc", "status", "--json"], repository).stdout)
        return {
            file
            for entry in status.get("tiny", [])
            if isinstance(entry, dict)
            for file in entry.get("changed deps", {})
        }

    assert changed() == set()
    for name, before, after in (
        ("genifer/methods/genifer.py", "version = 3", "version = 4"),
        ("genifer/versions.py", '"train_gan": 3', '"train_gan": 4'),
        ("my_methods.py", "so_far", "task"),
    ):
        path = repository / name
        text = path.read_text()
        assert text.count(before) == 1
        path.write_text(text.replace(before, after))
        assert changed() == {name}
        path.write_text(text)
    with (repository / "genifer/methods/genifer.py").open("a") as file:
        file.write("# A comment.\n")
    assert changed() == set()
