"""Run every command in the documents, or a form of it that a small machine without a network can run.

`test_every_command_is_known` fails for a new command that no line of `FORMS` matches. `pytest
tests/test_documents.py --write-chart` draws the README's chart of the rules anew.
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

import pytest
import torch
import typer
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from snakemake.cli import get_argument_parser
from support.commands import ROOT, call
from support.data_files import write_class_folders, write_npz
from support.documents import (
    Document,
    anchors,
    commands,
    documents,
    given_files,
    links,
    markdown_files,
    scripts,
)
from support.measured import MARK, TABLE, with_current_tables
from support.published import PUBLISHED_MARK, PUBLISHED_TABLE, with_published_tables
from support.published_code import published_states, write_published_config
from support.rule_graph import README_CHART, chart

from genifer.cli import app
from genifer.methods import Method
from genifer.registry import registry
from genifer.runtime.files import atomic_write
from snakemake_logger_plugin_genifer import let_cores_stand_alone

SAME = r"\g<0>"
NOT_RUN = None
NAMED = "names the command or option"

FORMS: list[tuple[str, str | None, str]] = [
    # Pattern of a command, what is run in its place, and why. The first that matches counts. The tests
    # run in a clone whose quickstart is the tiny run of support/commands.py, finished and recorded by DVC.
    #
    # The environment
    (r"conda (env create|activate) .*", NOT_RUN, "a download; tests compare environment.yml with constraints.txt"),
    (r"(docker|apptainer) .*", NOT_RUN, "a download; tests lint the definitions"),
    (r"snakemake --sdm conda.*", NOT_RUN, "conda is not there"),
    (r"snakedeploy .*", NOT_RUN, "a download; tests run what it writes"),
    (r"PIP_EXTRA_INDEX_URL=\S+ make demo", "make --dry-run demo", "an installation"),
    (r"pip install .*", NOT_RUN, "a download, or a change of the environment that the tests run in"),
    (r"make (test|test-slow|test-gpu|test-cluster|lint)( CLUSTER=whole)?", "make --dry-run \\1", "they run this test, or the tests around it"),
    (r"\.ci/run", "bash -n .ci/run", "it runs this test"),
    (r"make (budgets|ablations?) .*", f"{SAME} --dry-run", "hours, and an archive that is not there"),
    (r"make compare", "make --dry-run compare", "all methods over five seeds"),
    (r"make mermaid", "make --dry-run mermaid", "a download"),
    (r"make docs-serve", "make --dry-run docs-serve", "it would serve for ever"),
    (r"make pictures", "make --dry-run pictures", "the tiny run has no task 2 with a GAN"),
    (r"make record CONFIG=config/config\.yaml", "make record CONFIG=config/quickstart.yaml", "the paper's run was not made"),
    (r"make (demo|settings|record|chart)( CONFIG=config/quickstart\.yaml)?", SAME, ""),
    # The paper's sizes
    (r"genifer doctor( --config (birds|config/quickstart)\.yaml)?", "genifer doctor --config config/quickstart.yaml --device cpu", "it times steps at full size"),
    (r"(?:srun .*)?genifer doctor (--config config/grid\.yaml )?--device cuda (--write-limits .*)", "genifer doctor --config config/quickstart.yaml --device cpu \\2", "the same; there is no GPU"),
    (r"genifer doctor --write-limits( FILE)?", NOT_RUN, NAMED),
    (r"genifer bench growth (.*)", "genifer bench growth \\1 --steps 1 --repeats 1", "so many steps take minutes"),
    (r"genifer bench --against", NOT_RUN, NAMED),
    (r"genifer bench (\w+) (.*)--against .*", "genifer bench \\1 --config config/quickstart.yaml --against . --steps 1 --repeats 1 --rounds 1", "the clone instead of another checkout"),
    (r"genifer bench ?(.*)", "genifer bench \\1 --config config/quickstart.yaml --steps 1 --repeats 1", "steps at full size take seconds each"),
    (r"snakemake --config 'data=\{archive: .*", NOT_RUN, "an archive that is not there"),
    (r"snakemake -n\b.*", SAME, ""),
    (r"snakemake --(unlock|rulegraph)", SAME, ""),
    (r"snakemake --configfile config/quickstart\.yaml( (mas|means|cells|tracked|anchored|tutorial)\.yaml)?( --config run=short .*)?", SAME, ""),
    (r"snakemake --configfile config/quickstart\.yaml --report .*", SAME, ""),
    (r"snakemake --configfile config/quickstart\.yaml --config run=again .*", SAME, ""),
    (r"snakemake --configfile config/quickstart\.yaml .*", f"{SAME} --dry-run", "several seeds or another precision take minutes"),
    (r"snakemake --snakefile workflow/grid\.smk .*--report .*", NOT_RUN, "tests/workflow/test_grid.py does"),
    (r"(CUDA_VISIBLE_DEVICES=[\d,]+ )?snakemake\b(?! --configfile$).*", f"{SAME} --dry-run", "the paper's networks, or a cluster"),
    (r"sacct .*", NOT_RUN, "a cluster; tests/cluster/test_slurm.py does"),
    (r"srun (snakemake .*)", "\\1 --dry-run", "the paper's networks"),
    # Jobs
    (r"torchrun .*", NOT_RUN, "tests/training/test_several_processes.py does"),
    (r"genifer pretrain-gan --classifier F", NOT_RUN, NAMED),
    (r"genifer --log FILE", NOT_RUN, NAMED),
    (r"genifer (train|tabulate|plot) \w+", NOT_RUN, NAMED),
    (r"genifer watch", "genifer watch --once", "it would wait for the end of runs"),
    (r"genifer watch .*", SAME, ""),
    (r"genifer report /mnt/shared/genifer/(.*)", "genifer report \\1", "a folder that exists"),
    (r"genifer report --config (birds|digits)\.yaml", "genifer report --config config/quickstart.yaml", "the other runs were not made"),
    (r"genifer (check|settings|methods|summary|report|--help|prepare-data|pretrain-|train|evaluate)(?=.* ).*", SAME, ""),
    (r"genifer (settings|methods)", SAME, ""),
    (r"genifer import-reference --.*", SAME, ""),
    (r"genifer compare .* --reference fecam (.*)", "genifer compare results/quickstart \\1", "the only run there is"),
    (r"genifer compare .*", "genifer compare quickstart", "the only run there is"),
    (r"genifer [a-z-]+", NOT_RUN, NAMED),
    (r"snakemake --configfile", NOT_RUN, NAMED),
    (r"wandb sync", NOT_RUN, NAMED),
    (r"wandb (login|sync .*)", NOT_RUN, "an account; tests/runtime/test_tracking.py reads the files"),
    (r"mlflow ui .*", NOT_RUN, "it would serve for ever, and the tests have MLflow without its server"),
    (r"make report( CONFIG=config/(config|quickstart)\.yaml)?", "make report", "the paper's run was not made"),
    (r"make (tables|docs)", SAME, ""),
    (r"tensorboard (.*)", "tensorboard --inspect \\1", "it would serve for ever"),
    # DVC and git
    (r"git clone \.\.\.", "git clone --quiet . ../other/genifer && cd ../other", "of this clone instead of one over the network"),
    (r"git commit (.*)", "git commit --allow-empty \\1", "the tiny run is recorded already"),
    (r"git push", "git init --quiet --bare ../origin.git && git push ../origin.git HEAD", "there is no server"),
    (r"git pull", "git pull --quiet . HEAD", "the same"),
    (r"git (add|restore) .*", SAME, ""),
    (r"git checkout", NOT_RUN, NAMED),
    (r"dvc (add|exp apply)", NOT_RUN, NAMED),
    (r"dvc exp apply NAME", "dvc exp apply $(dvc exp list --name-only)", "the name of the only trial"),
    (r"dvc exp run -S '(.*)=600'", "dvc exp run --set-param '\\1=4'", "fewer steps"),
    (r"dvc remote add --default storage /mnt/shared/genifer", "dvc remote add --default storage ../remote", "a folder that exists"),
    (r"dvc remote add --default storage ((s3|ssh)://.*)", "dvc remote add elsewhere-\\2 \\1", "not the default, which later commands use"),
    (r"dvc (pull|checkout) PATH", "dvc \\1 results/quickstart/plots", "a path that exists"),
    (r"dvc (pull|push|checkout|status|dag|repro( quickstart)?)", SAME, ""),
    (r"dvc (metrics|params|plots) (show|diff HEAD~1)", SAME, ""),
    (r"dvc exp show --only-changed", SAME, ""),
    # Other
    (r"pytest tests/reference --reference-dir FOLDER", "pytest --collect-only -q tests/reference --reference-dir tests/reference/data", "figures that exist; make test runs them"),
    (r"pytest --cold-start", NOT_RUN, "it runs all tests"),
    (r"pytest tests/test_environments\.py.*", NOT_RUN, "the clone lacks the files that it reads; make test runs them"),
    (r"(GENIFER_\w+=\w+ )?pytest tests/(?!.*--record-versions).*", f"{SAME} --collect-only --quiet", "make test and make test-slow run them"),
    (r"pytest tests/test_versions\.py --record-versions", SAME, ""),
    (r"tar czf birds\.tar\.gz birds", SAME, ""),
    (r"cp docs/examples/\w+\.py \.", SAME, ""),
    (r"cp -r workflow/profiles/.*", SAME, ""),
    (r"export SNAKEMAKE_PROFILE=.*", SAME, ""),
    (r"cd genifer", SAME, ""),
    (r"\. \.venv/bin/activate", NOT_RUN, "the tests' environment is active"),
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
    """Commands and options as the documents write them, not in their small form."""
    wrong = []
    for command, document in commands().items():
        words = shlex.split(command.partition(" > ")[0])
        words = [word for word in words if not re.match(r"[A-Z_]+=\d", word)]
        form = form_of(command)
        named = form is None or form[1] == NAMED
        if words[0] not in PROBLEM_OF or (named and words[0] != "genifer"):
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
        return f"there is no command {arguments[0]}"
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


def problem_of_snakemake(arguments: list[str]) -> str | None:
    command = ["snakemake", *arguments]
    let_cores_stand_alone(command)
    return problem_of_parser(get_argument_parser)(command[1:])


PROBLEM_OF: dict[str, Callable[[list[str]], str | None]] = {
    "genifer": problem_of_genifer,
    "snakemake": problem_of_snakemake,
    "dvc": problem_of_parser(get_main_parser),
    "make": problem_of_make,
}
"""For each tool: what is wrong with a command and its options, found without running it."""


@pytest.mark.parametrize("path", markdown_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    wrong = []
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


def test_the_chart_of_the_rules_is_that_of_the_workflow(pytestconfig: pytest.Config) -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    drawn, current = README_CHART.search(text), chart(ROOT)
    assert drawn is not None
    if pytestconfig.getoption("--write-chart"):
        with atomic_write(path) as temporary:
            temporary.write_text(README_CHART.sub(lambda _: current, text, count=1))
    else:
        assert drawn[0] == current, "the rules have changed; draw the chart anew: make chart"


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_tables_show_the_recorded_results(document: Document, pytestconfig: pytest.Config) -> None:
    text = document.path.read_text()
    current = with_published_tables(with_current_tables(text))
    assert len(TABLE.findall(text)) == text.count(MARK), "write <!-- measured: KIND of RUN --> on a line"
    marks = text.count(PUBLISHED_MARK)
    assert len(PUBLISHED_TABLE.findall(text)) == marks, (
        "write <!-- published: TASKS of DATA SET --> on a line"
    )
    if pytestconfig.getoption("--write-tables") and text != current:
        with atomic_write(document.path) as temporary:
            temporary.write_text(current)
    else:
        assert text == current, (
            "docs/measured/ or docs/published.csv has other figures; write the tables anew: make tables"
        )


def test_the_page_on_methods_shows_the_example() -> None:
    page = document_named("docs/add-a-method.md")
    example = (ROOT / "docs" / "examples" / "mas.py").read_text()
    assert example in [block.text for block in page.blocks], (
        "copy docs/examples/mas.py to docs/add-a-method.md"
    )


def test_the_page_on_methods_describes_the_whole_contract() -> None:
    page = document_named("docs/add-a-method.md")
    names = {*vars(Method), *Method.__annotations__}
    public = {name for name in names if not name.startswith("_")} - INTERNAL
    described = set(re.findall(r"`(?:self\.)?(\w+)(?:\([\w, ]*\))?`", page.prose))
    assert not public - described


def test_the_page_on_comparisons_lists_all_methods() -> None:
    page = document_named("docs/compare-methods.md")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\w+) \|[^|]*\|$", page.prose, re.M)
    methods = {name: cls.old_images() for name, cls in registry().methods.items() if cls.source_hash is None}
    assert dict(rows) == methods


INTERNAL = {
    "source_hash",
    "summary",
    "old_images",
    "version_text",
    "has_own_logits",
    "can_split_batches",
}
"""What `Method` has for other parts of genifer, not for methods."""


def document_named(name: str) -> Document:
    return next(document for document in documents() if document.name == name)


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
    """Write twenty classes of three birds each."""
    write_class_folders(folder / "birds", [f"bird_{number:02}" for number in range(20)])


def packed_birds(folder: Path) -> None:
    birds(folder)
    shutil.make_archive(str(folder / "birds"), "gztar", folder, "birds")


def cells(folder: Path) -> None:
    """Write arrays of five classes."""
    write_npz(folder / "cells.npz")


def published_run(folder: Path) -> None:
    """Write configs and checkpoints of the published code."""
    for name, written in (
        ("classifier", "pretrain_classifier"),
        ("gan", "pretrain_gan"),
        ("incremental", "incremental_training"),
    ):
        write_published_config(folder, name).rename(folder / f"{written}.json")
    states = published_states()
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
"""What the reader of a document has at hand."""


MEASURE = ("genifer bench", "genifer doctor")
"""Commands that run once per document, because nothing changes their result there."""


def with_few_steps(text: str) -> str:
    """A run file whose trainings take a few steps."""
    return re.sub(r"\bsteps: [1-9]\d*", "steps: 3", text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [document for document in documents() if scripts(document)],
    ids=lambda document: document.name,
)
def test_commands_run(document: Document, repository: Path, tmp_path: Path) -> None:
    """Run a document's commands in order, in a clone with the files that it contains."""
    clone = tmp_path / "genifer"
    shutil.copytree(repository, clone, symlinks=True)
    for make in NEEDED.get(document.name, []):
        make(clone)
    for name, text in given_files(document).items():
        (clone / name).write_text(with_few_steps(text) if name.endswith(".yaml") else text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    packages = os.pathsep.join([str(clone), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment["PYTHONPATH"] = packages
    measured: set[str] = set()
    for script in scripts(document):
        forms = [form[0] for form in map(form_of, script) if form is not None and form[0] is not None]
        forms = [form for form in forms if form not in measured]
        measured |= {form for form in forms if form.startswith(MEASURE)}
        text = "\n".join(["set -euo pipefail", *forms])
        done = subprocess.run(
            ["bash", "-c", text], cwd=clone, env=environment, capture_output=True, text=True, timeout=900, check=False
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout[-6000:]}{done.stderr[-6000:]}"
