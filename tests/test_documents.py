"""Every command of the documents is run, or a form of it that a small machine without a network can run.

A new command that no line of `FORMS` matches fails `test_every_command_is_known`. `pytest
tests/test_documents.py --write-chart` writes the README's chart of the rules anew.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import test_data
import test_import
import torch
import typer
from commands import ROOT, call
from documents import Document, anchors, commands, documents, links, run_files, scripts
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from rule_graph import README_CHART, chart
from snakemake.cli import get_argument_parser

from genifer.cli import app
from genifer.runtime.files import whole_file

SAME = r"\g<0>"
NOT_RUN = None

FORMS: list[tuple[str, str | None, str]] = [
    # Pattern of a command, what is run in its place, and why. The first that matches counts. The tests
    # run in a clone whose quickstart is the tiny run of tests/commands.py, finished and recorded by DVC.
    #
    # The environment
    (r"conda (env create|activate) .*", NOT_RUN, "a download; test_config.py holds environment.yml to pyproject.toml"),
    (r"pip install .*", NOT_RUN, "a download, or a change of the environment that the tests run in"),
    (r"make (test|test-slow|lint)", "make --dry-run \\1", "they are what runs this test, or beside it"),
    (r"\.ci/run", "bash -n .ci/run", "the same"),
    (r"make pictures", "make --dry-run pictures", "the tiny run has no third palette"),
    (r"make record CONFIG=config/config\.yaml", "make record CONFIG=config/quickstart.yaml", "the paper's run is not there"),
    (r"make (demo|settings|record|chart)( CONFIG=config/quickstart\.yaml)?", SAME, ""),
    # The paper's sizes
    (r"genifer doctor( --config birds\.yaml)?", "genifer doctor --config config/quickstart.yaml --device cpu", "it times steps of full size"),
    (r"genifer bench growth (.*)", "genifer bench growth \\1 --steps 1 --repeats 1", "so many steps take minutes"),
    (r"genifer bench ?(.*)", "genifer bench \\1 --config config/quickstart.yaml --steps 1 --repeats 1", "steps of full size take seconds each"),
    (r"snakemake -n\b.*", SAME, ""),
    (r"snakemake --(unlock|rulegraph)", SAME, ""),
    (r"snakemake --configfile config/quickstart\.yaml( (lwf|cells|tracked)\.yaml)?", SAME, ""),
    (r"snakemake --configfile config/quickstart\.yaml --report .*", SAME, ""),
    (r"snakemake --configfile config/quickstart\.yaml --config run=again .*", SAME, ""),
    (r"snakemake --configfile config/quickstart\.yaml .*", f"{SAME} --dry-run", "several seeds, or another precision, of a run that is made once"),
    (r"(CUDA_VISIBLE_DEVICES=\d )?snakemake\b(?! --configfile$).*", f"{SAME} --dry-run", "the paper's networks, or a cluster, which test_cluster.py has stand-ins for"),
    (r"srun (snakemake .*)", "\\1 --dry-run", "the same"),
    # Stages
    (r"genifer pretrain-gan --classifier F", NOT_RUN, "shows one option; the whole command is run"),
    (r"genifer watch", "genifer watch --once", "it would wait for the end of runs"),
    (r"genifer watch .*", SAME, ""),
    (r"genifer (settings|summary|--help|prepare-data|pretrain-|train-|evaluate)(?=.* ).*", SAME, ""),
    (r"genifer settings", SAME, ""),
    (r"genifer import-reference --.*", SAME, ""),
    (r"genifer [a-z-]+", NOT_RUN, "names the subcommand; test_options_exist looks for it"),
    (r"snakemake --configfile", NOT_RUN, "names the option"),
    (r"mlflow ui .*", NOT_RUN, "it would serve for ever; the tests have MLflow without its server"),
    (r"make report( CONFIG=(birds|config/config)\.yaml REPORT=.*)?", "make report", "the other runs are not there"),
    (r"tensorboard (.*)", "tensorboard --inspect \\1", "it would serve for ever"),
    # DVC and git
    (r"git clone \.\.\.", "git clone --quiet . ../other/genifer && cd ../other", "of this clone instead of one over the network"),
    (r"git commit (.*)", "git commit --allow-empty \\1", "the tiny run is recorded already"),
    (r"git push", "git init --quiet --bare ../origin.git && git push ../origin.git HEAD", "no server is at hand"),
    (r"git pull", "git pull --quiet . HEAD", "the same"),
    (r"git (add|apply|restore) .*", SAME, ""),
    (r"git checkout", NOT_RUN, "names the command"),
    (r"dvc (add|exp apply)", NOT_RUN, "names the command"),
    (r"dvc exp apply NAME", "dvc exp apply $(dvc exp list --name-only)", "the name of the one trial before"),
    (r"dvc exp run -S '(.*)=600'", "dvc exp run --set-param '\\1=4'", "fewer steps"),
    (r"dvc remote add --default storage /mnt/shared/genifer", "dvc remote add --default storage ../remote", "a folder that is there"),
    (r"dvc remote add --default storage ((s3|ssh)://.*)", "dvc remote add elsewhere-\\2 \\1", "not the default, which later commands use"),
    (r"dvc (pull|checkout) PATH", "dvc \\1 results/quickstart/plots", "a path that is there"),
    (r"dvc (pull|push|checkout|status|dag|repro( quickstart)?)", SAME, ""),
    (r"dvc (metrics|params|plots) (show|diff HEAD~1)", SAME, ""),
    (r"dvc exp show --only-changed", SAME, ""),
    # Other
    (r"pytest tests/reference --reference-dir FOLDER", "pytest -q tests/reference --reference-dir tests/reference/data", "figures that are there"),
    (r"pytest tests/test_documents\.py", f"{SAME} -m 'not slow'", "this test is one of the others"),
    (r"pytest tests/.*", SAME, ""),
    (r"tar czf birds\.tar\.gz birds", SAME, ""),
    (r"mv config/settings\.new config/config\.yaml", SAME, ""),
    (r"cd genifer", SAME, ""),
]  # fmt: skip


def form_of(command: str) -> tuple[str | None, str] | None:
    for pattern, replacement, why in FORMS:
        match = re.fullmatch(pattern, command)
        if match:
            return (None if replacement is None else match.expand(replacement)), why
    return None


def test_every_command_is_known() -> None:
    unknown = [
        f"{document}: {command}" for command, document in commands().items() if form_of(command) is None
    ]
    assert not unknown, (
        "no line of FORMS in tests/test_documents.py matches these commands; add one that runs each, as it "
        "is (SAME) or in a small form, and says why:\n" + "\n".join(unknown)
    )


def test_every_form_is_in_use() -> None:
    used = set()
    for command in commands():
        used.add(next(pattern for pattern, _, _ in FORMS if re.fullmatch(pattern, command)))
    assert {pattern for pattern, _, _ in FORMS} == used


def test_options_exist() -> None:
    """Subcommands and options as the documents write them, not in their small form."""
    wrong = []
    for command, document in commands().items():
        words = shlex.split(command.partition(" > ")[0])
        words = [word for word in words if not re.match(r"[A-Z_]+=\d", word)]
        form = form_of(command)
        if form is None or form[1] in ("names the option", "names the command") or words[0] not in PROBLEM_OF:
            continue
        problem = PROBLEM_OF[words[0]](words[1:])
        if problem:
            wrong.append(f"{document}: {command}: {problem}")
    assert not wrong, "\n".join(wrong)


def problem_of_genifer(arguments: list[str]) -> str | None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    command = group if arguments[0].startswith("-") else group.commands.get(arguments[0])
    if command is None:
        return f"there is no subcommand {arguments[0]}"
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    unknown = {word for word in arguments if word.startswith("-")} - known - {"--help"}
    return f"there is no {', '.join(sorted(unknown))}" if unknown else None


def problem_of_parser(parser: Callable[[], argparse.ArgumentParser]) -> Callable[[list[str]], str | None]:
    made = functools.cache(parser)

    def problem(arguments: list[str]) -> str | None:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                made().parse_args(arguments)
        except (SystemExit, DvcParserError) as error:
            return said.getvalue() or str(error)
        return None

    return problem


def problem_of_make(arguments: list[str]) -> str | None:
    done = call(["make", "--dry-run", *arguments])
    return done.stderr if done.returncode else None


PROBLEM_OF: dict[str, Callable[[list[str]], str | None]] = {
    "genifer": problem_of_genifer,
    "snakemake": problem_of_parser(get_argument_parser),
    "dvc": problem_of_parser(get_main_parser),
    "make": problem_of_make,
}
"""Whether a tool knows the subcommand and options, without running it."""


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_links_lead_somewhere(document: Document) -> None:
    by_path = {other.path: other for other in documents()}
    for link in links(document):
        name, _, anchor = link.partition("#")
        target = (document.path.parent / name).resolve() if name else document.path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(by_path[target]), link


def test_the_chart_of_the_rules_is_that_of_the_workflow(pytestconfig: pytest.Config) -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    drawn, current = README_CHART.search(text), chart(ROOT)
    assert drawn is not None
    if pytestconfig.getoption("--write-chart"):
        with whole_file(path) as temporary:
            temporary.write_text(README_CHART.sub(lambda _: current, text, count=1))
    else:
        assert drawn[0] == current, "the rules have changed; write the chart anew: make chart"


@pytest.fixture(scope="module")
def repository(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole checkout with the tiny run in place of the quickstart, run and recorded; two commits.

    Its .venv is this environment.
    """
    folder = tmp_path_factory.mktemp("documents") / "repository"
    shutil.copytree(recorded, folder, symlinks=True)
    for name in (".ci", "benchmarks", "docs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and path.name not in ("dvc.yaml", "dvc.lock", ".git"):
            shutil.copy(path, folder)
    shutil.copy(ROOT / "results" / "README.md", folder / "results")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (folder / ".venv" / ".installed").touch()
    for command in (["git", "add", "."], ["git", "commit", "--quiet", "--message", "All of it"]):
        done = call(command, folder)
        assert done.returncode == 0, done.stderr
    return folder


def birds(folder: Path) -> None:
    """Twenty classes of a bird or two."""
    test_data.write_tree(folder / "birds", [f"bird_{number:02}" for number in range(20)])


def packed_birds(folder: Path) -> None:
    birds(folder)
    shutil.make_archive(str(folder / "birds"), "gztar", folder, "birds")


def cells(folder: Path) -> None:
    """Arrays of five classes, in the layout of MedMNIST."""
    labels = np.repeat(np.arange(5), 12)
    images = np.zeros((60, 28, 28, 3), dtype=np.uint8) + (10 * labels)[:, None, None, None].astype(np.uint8)
    train, test = (
        {"train_images": images, "train_labels": labels},
        {"test_images": images, "test_labels": labels},
    )
    np.savez(folder / "cells.npz", **train, **test)


def published_run(folder: Path) -> None:
    """Configs and checkpoints of the published code."""
    for name, written in (
        ("classifier", "pretrain_classifier"),
        ("gan", "pretrain_gan"),
        ("incremental", "incremental_training"),
    ):
        test_import.write(folder, name).rename(folder / f"{written}.json")
    states = test_import.published_states()
    for name, written in (
        ("classifier", "model_best_val_loss"),
        ("generator", "generator"),
        ("discriminator", "discriminator"),
    ):
        torch.save(states[name], folder / f"genifer_{written}.pt")


NEEDED: dict[str, list[Callable[[Path], None]]] = {
    "config/README.md": [packed_birds],
    "docs/add-a-data-set.md": [birds, cells],
    "docs/from-the-published-code.md": [published_run],
}
"""What a reader of a document has at hand."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [document for document in documents() if scripts(document)],
    ids=lambda document: document.name,
)
def test_commands_run(document: Document, repository: Path, tmp_path: Path) -> None:
    """A document's commands, from first to last, in a clone."""
    clone = tmp_path / "genifer"
    shutil.copytree(repository, clone, symlinks=True)
    for make in NEEDED.get(document.name, []):
        make(clone)
    for name, text in run_files(document).items():
        (clone / name).write_text(text)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    packages = os.pathsep.join([str(clone), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment |= {"PATH": path, "PYTHONPATH": packages}
    for script in scripts(document):
        forms = [form for form in map(form_of, script) if form is not None and form[0] is not None]
        text = "\n".join(["set -euo pipefail", *(str(command) for command, _ in forms)])
        done = subprocess.run(
            ["bash", "-c", text], cwd=clone, env=environment, capture_output=True, text=True, timeout=900, check=False
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout[-6000:]}{done.stderr[-6000:]}"
