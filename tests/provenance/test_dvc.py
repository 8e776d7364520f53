"""What DVC and Snakemake know of a run, after it went through a remote into another clone."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import ROOT, TINY, call, make_clone, merged, planned
from support.measured import MEASURED

from genifer.evaluation import SUMMARY_COLUMNS
from genifer.evaluation.tables import read_table, summary_text
from genifer.versions import VERSIONS

RUN_FILE = "config/quickstart.yaml"
RESULTS = "results/quickstart"
GAN = f"{RESULTS}/jobs/seed_0/genifer/task_1/train_gan/gan.safetensors"

METHODS = ("genifer", "finetune", "joint")
TABLES = {"tabulate", "tabulate_training", "tabulate_costs", "write_tables"}
PLOTS = {"plot_accuracy", "plot_forgetting", "plot_training", "plot_costs"}


def job(name: str, group: str, task: int, seed: int = 0) -> str:
    return f"{name} group={group} seed={seed} task={task}"


def evaluations(methods: Sequence[str] = METHODS, tasks: Sequence[int] = (1, 2), seed: int = 0) -> set[str]:
    return {job("evaluate", method, task, seed) for method in methods for task in tasks}


def trainings(name: str, tasks: Sequence[int] = (1, 2), seed: int = 0) -> set[str]:
    method = "genifer" if name == "train_gan" else name.removeprefix("train_")
    return {job(name, method, task, seed) for task in tasks}


def of_gans(name: str, tasks: Sequence[int], seed: int) -> set[str]:
    return {job(name, "genifer" if task else "shared", task, seed) for task in tasks}


def sample_grids(tasks: Sequence[int] = (0, 1), seed: int = 0) -> set[str]:
    return {"plot_replay"} | of_gans("plot_sample_grids", tasks, seed)


def replay(tasks: Sequence[int] = (0, 1), seed: int = 0) -> set[str]:
    """All jobs that look at what the GANs of these tasks replay."""
    return of_gans("evaluate_replay", tasks, seed) | {"tabulate_replay"} | sample_grids(tasks, seed)


def whole_seed(seed: int) -> set[str]:
    """All jobs of a seed, from the first classifier to the sample grids."""
    return (
        {job(name, "shared", 0, seed) for name in ("pretrain_classifier", "pretrain_gan", "evaluate")}
        | trainings("train_gan", [1], seed)
        | {name for method in METHODS for name in trainings(f"train_{method}", (1, 2), seed)}
        | evaluations(seed=seed)
        | replay(seed=seed)
    )


AFTER_THE_GAN_OF_TASK_1 = (
    trainings("train_genifer", [2]) | evaluations(["genifer"], [2]) | replay([1]) | TABLES | PLOTS
)

AFTER_JOINT = trainings("train_joint") | evaluations(["joint"]) | replay() | TABLES | PLOTS
"""Its last classifier judges all replay."""


@pytest.fixture
def clone(recorded: Path, tmp_path: Path) -> Path:
    """A colleague's clone, who has pulled."""
    return pulled_clone(recorded, tmp_path / "clone")


def pulled_clone(recorded: Path, folder: Path) -> Path:
    run("git", "clone", "--quiet", recorded, folder)
    run("git", "config", "user.name", "A Colleague", folder=folder)
    run("git", "config", "user.email", "colleague@example.org", folder=folder)
    run("dvc", "pull", folder=folder)
    return folder


def run(*command: str | Path, folder: Path = Path()) -> str:
    done = call(list(command), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def refused(*command: str | Path, folder: Path) -> str:
    done = call(list(command), folder)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def dvc_status(clone: Path) -> Any:
    """What has changed in DVC's eyes; empty if nothing."""
    return json.loads(call(["dvc", "status", "--json"], clone).stdout)


def change(clone: Path, **settings: Any) -> None:
    (clone / RUN_FILE).write_text(yaml.safe_dump(merged(TINY, settings)))


def set_random_times(folder: Path) -> None:
    for path in folder.rglob("*"):
        if ".git" not in path.parts:
            when = random.uniform(1e9, 1.7e9)
            os.utime(path, (when, when))


def flip_a_bit(path: Path, keep_time: bool) -> None:
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_clone_that_pulled_has_nothing_to_do(clone: Path) -> None:
    assert planned(clone, RUN_FILE) == set()
    assert dvc_status(clone) == {}
    set_random_times(clone)
    assert planned(clone, RUN_FILE) == set()
    assert dvc_status(clone) == {}
    kept = {path.name for path in (clone / RESULTS).rglob("*") if path.is_file()}
    assert {"task_0_train.safetensors", "classifier.safetensors", "gan.safetensors", "records.json"} < kept
    assert not {name for name in kept if "log" in name or "events" in name}
    assert "up to date" in run("dvc", "repro", folder=clone)


@pytest.fixture(scope="module")
def one_clone(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone for all that only looks at plans; file times are in no order."""
    folder = pulled_clone(recorded, tmp_path_factory.mktemp("clones") / "clone")
    set_random_times(folder)
    return folder


@pytest.mark.parametrize(
    ("settings", "jobs"),
    [
        ({"plots": {"dpi": 60}}, PLOTS | sample_grids()),
        (
            {"gan": {"generator_learning_rate": 0.1}},
            {"pretrain_gan group=shared seed=0 task=0"} | trainings("train_gan", [1]) | trainings("train_genifer")
            | evaluations(["genifer"]) | replay() | TABLES | PLOTS,
        ),
        (
            {"train_gan": {"distillation_weight": 5.0}},
            trainings("train_gan", [1]) | AFTER_THE_GAN_OF_TASK_1,
        ),
        (
            {"genifer": {"steps": 4}},
            trainings("train_gan", [1]) | trainings("train_genifer") | evaluations(["genifer"])
            | replay([1]) | TABLES | PLOTS,
        ),
        ({"joint": {"steps": 4}}, AFTER_JOINT),
        ({"scenario": {"class_order": 5}}, {"prepare_data"} | whole_seed(0) | TABLES | PLOTS),
        ({"seeds": [0, 1]}, whole_seed(1) | TABLES | PLOTS),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_changed_setting_reruns_what_depends_on_it(
    one_clone: Path, settings: dict[str, Any], jobs: set[str]
) -> None:
    change(one_clone, **settings)
    try:
        assert planned(one_clone, RUN_FILE) == jobs
        assert any("changed deps" in change for change in dvc_status(one_clone)["quickstart"])
    finally:
        change(one_clone)
    assert planned(one_clone, RUN_FILE) == set()


@pytest.mark.parametrize("keep_time", [False, True], ids=["", "same time"])
def test_a_corrupted_checkpoint_is_noticed(clone: Path, keep_time: bool) -> None:
    if keep_time:
        planned(clone, RUN_FILE)
    flip_a_bit(clone / GAN, keep_time)
    message = refused("snakemake", "--dry-run", "--configfile", RUN_FILE, folder=clone)
    assert f"{GAN}: changed since its job wrote it" in message
    assert "dvc checkout" in message
    assert dvc_status(clone) != {}
    refused("snakemake", "--configfile", RUN_FILE, folder=clone)

    (clone / GAN).unlink()
    run("dvc", "checkout", GAN, folder=clone)
    assert planned(clone, RUN_FILE) == set()


def test_a_lost_checkpoint(clone: Path) -> None:
    """Nothing is made for its own sake, but what needs it makes it first; and one hears of the pull."""
    (clone / GAN).unlink()
    set_random_times(clone)
    done = call(["snakemake", "--dry-run", "--configfile", RUN_FILE], clone)
    assert "Nothing to be done" in done.stdout + done.stderr
    assert f"{GAN}: missing, but recorded in" in done.stderr
    assert "dvc pull" in done.stderr
    change(clone, genifer={"steps": 4}, methods=["genifer"])
    assert job("train_gan", "genifer", 1) in planned(clone, RUN_FILE)


def test_contents_of_two_revisions_are_not_mixed(clone: Path) -> None:
    """A checkpoint with its record from elsewhere: what follows from it was made from another."""
    planned(clone, RUN_FILE)
    flip_a_bit(clone / GAN, keep_time=True)
    records = json.loads((clone / RESULTS / "records.json").read_text())
    del records["files"][GAN]
    (clone / RESULTS / "records.json").write_text(json.dumps(records))
    assert planned(clone, RUN_FILE) == AFTER_THE_GAN_OF_TASK_1


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


def test_a_raised_version_reruns_its_job(clone: Path) -> None:
    with (clone / "genifer" / "nn" / "losses.py").open("a") as file:
        file.write("# A comment.\n")
    assert planned(clone, RUN_FILE) == set()
    assert dvc_status(clone) == {}

    version = VERSIONS["train_gan"]
    edit(clone / "genifer" / "versions.py", f'"train_gan": {version}', f'"train_gan": {version + 1}')
    assert planned(clone, RUN_FILE) == trainings("train_gan", [1]) | AFTER_THE_GAN_OF_TASK_1
    assert dvc_status(clone) != {}
    assert f"{version + 1}" in run("dvc", "params", "diff", folder=clone)


def test_a_raised_version_of_a_method_reruns_its_trainings(clone: Path) -> None:
    edit(clone / "genifer" / "methods" / "joint.py", "version = 3", "version = 4")
    assert planned(clone, RUN_FILE) == AFTER_JOINT
    assert dvc_status(clone) != {}


def test_repro_twice(recorded: Path) -> None:
    assert "Running stage" not in run("dvc", "repro", folder=recorded)


@pytest.mark.slow
def test_an_experiment_and_back(clone: Path) -> None:
    """In the workspace, where the records of what the experiment made must not outlive its files."""
    run(
        "dvc",
        "exp",
        "run",
        "--name",
        "longer",
        "--set-param",
        f"{RUN_FILE}:joint.steps=4",
        "quickstart",
        folder=clone,
    )
    rows = {
        row["Experiment"] or row["rev"]: row
        for row in csv.DictReader(io.StringIO(run("dvc", "exp", "show", "--csv", folder=clone)))
    }
    accuracy = f"{RESULTS}/metrics/joint.json:average_incremental_accuracy"
    found = json.loads((clone / RESULTS / "metrics" / "joint.json").read_text())[
        "average_incremental_accuracy"
    ]
    assert float(rows["longer"][accuracy]) == pytest.approx(found)
    assert float(rows["longer"][f"{RUN_FILE}:joint.steps"]) == 4
    assert float(rows["workspace"][f"{RUN_FILE}:joint.steps"]) == 4
    assert dvc_status(clone) == {}
    assert planned(clone, RUN_FILE) == set()
    assert "joint.steps" in run("dvc", "params", "diff", folder=clone)
    assert "joint.json" in run("dvc", "metrics", "diff", folder=clone)

    run("git", "restore", ".", folder=clone)
    run("dvc", "checkout", folder=clone)
    assert dvc_status(clone) == {}
    assert planned(clone, RUN_FILE) == set()
    run("dvc", "exp", "apply", "longer", folder=clone)
    assert planned(clone, RUN_FILE) == set()


@pytest.mark.slow
def test_an_experiment_elsewhere(clone: Path) -> None:
    """In a folder of its own DVC lays out the recorded results, so only what depends on the change runs."""
    text = run(
        "dvc", "exp", "run", "--temp", "--name", "coarser", "--set-param", f"{RUN_FILE}:plots.dpi=60",
        folder=clone,
    )  # fmt: skip
    assert "plot accuracy" in text
    assert "  prepare data" not in text
    assert "  train " not in text
    assert "coarser" in run("dvc", "exp", "show", "--csv", folder=clone)
    assert call(["git", "status", "--porcelain"], clone).stdout == ""
    assert planned(clone, RUN_FILE) == set()
    assert dvc_status(clone) == {}


def test_checkout_brings_everything_back(clone: Path) -> None:
    planned(clone, RUN_FILE)
    shutil.rmtree(clone / "results")
    assert "prepare_data" in planned(clone, RUN_FILE)
    run("dvc", "checkout", folder=clone)
    assert planned(clone, RUN_FILE) == set()
    assert dvc_status(clone) == {}


@pytest.mark.slow
def test_runs_side_by_side(clone: Path, tmp_path: Path) -> None:
    """Another run of the same clone gets records and a DVC stage of its own; both travel together."""
    other = {"run": "other", "methods": ["finetune"], "scenario": {"tasks": [5, 5]}}
    (clone / "other.yaml").write_text(yaml.safe_dump(merged(TINY, other)))
    message = refused("genifer", "record", "--config", "other.yaml", folder=clone)
    assert "first make it: snakemake --configfile other.yaml" in message
    run("snakemake", "--configfile", "other.yaml", folder=clone)
    files = json.loads((clone / "results/other/records.json").read_text())["files"]
    assert all(name.startswith("results/other/") for name in files)
    assert "Nothing to be done" in run("genifer", "record", "--config", "other.yaml", folder=clone)
    assert dvc_status(clone) == {}
    assert "other/metrics/finetune.json" in run("dvc", "metrics", "show", folder=clone)

    run("git", "add", ".", folder=clone)
    run("git", "commit", "--quiet", "--message", "Another run", folder=clone)
    run("dvc", "push", folder=clone)
    again = pulled_clone(clone, tmp_path / "again")
    for run_file in (RUN_FILE, "other.yaml"):
        assert planned(again, run_file) == set()
    assert dvc_status(again) == {}
    stages = yaml.safe_load((again / "dvc.yaml").read_text())["stages"]
    assert [next(iter(out)).replace("quickstart", "other") for out in stages["quickstart"]["outs"]] == [
        next(iter(out)) for out in stages["other"]["outs"]
    ]


@pytest.mark.slow
def test_the_records_of_newer_files_stay(clone: Path) -> None:
    """Made in this clone, but Snakemake was killed before it could write records.json."""
    records = (clone / RESULTS / "records.json").read_bytes()
    change(clone, plots={"dpi": 60})
    run("snakemake", "--configfile", RUN_FILE, folder=clone)
    (clone / RESULTS / "records.json").write_bytes(records)
    assert planned(clone, RUN_FILE) == set()
    assert (clone / RESULTS / "records.json").read_bytes() != records


def test_damaged_records(clone: Path) -> None:
    (clone / RESULTS / "records.json").write_text("{")
    message = refused("snakemake", "--dry-run", "--configfile", RUN_FILE, folder=clone)
    assert f"{RESULTS}/records.json: cannot be read" in message
    assert "dvc checkout" in message


def test_plots_and_dag(clone: Path) -> None:
    plots = json.loads(run("dvc", "plots", "show", "--json", folder=clone).split("\n", 1)[0])["data"]
    drawn = {name for name, of_revisions in plots.items() if of_revisions}
    assert drawn == {"quickstart, accuracy", "quickstart, accuracy of each task", "quickstart, training"}
    assert "quickstart" in run("dvc", "dag", folder=clone)


def test_the_readme_shows_the_recorded_quickstart() -> None:
    """Its last screen is that of the run which dvc.lock records; docs/measured/quickstart has a copy of the table."""
    copy = MEASURED / "quickstart" / "summary.csv"
    stage = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]["quickstart"]
    recorded = {output["path"]: output["md5"] for output in stage["outs"]}
    assert hashlib.md5(copy.read_bytes()).hexdigest() == recorded["results/quickstart/summary.csv"], (
        "after make record: cp results/quickstart/summary.csv docs/measured/quickstart/"
    )
    assert summary_text(read_table(copy, SUMMARY_COLUMNS)) in (ROOT / "README.md").read_text()


def test_the_committed_lock_is_that_of_this_checkout(tmp_path: Path) -> None:
    """If not: dvc repro quickstart, and commit dvc.lock."""
    clone = make_clone(tmp_path)
    shutil.copy(ROOT / "dvc.lock", clone)
    run("git", "init", "--quiet", folder=clone)
    [outs] = dvc_status(clone)["quickstart"]
    assert set(outs) == {"changed outs"}


def test_without_a_remote(recorded: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run("git", "clone", "--quiet", recorded, clone)
    run("dvc", "remote", "remove", "folder", folder=clone)
    assert "no default remote set" in refused("dvc", "pull", folder=clone)
    run("dvc", "remote", "add", "--default", "gone", tmp_path / "nowhere", folder=clone)
    message = refused("dvc", "pull", folder=clone)
    assert "Checkout failed" in message
    assert not [path for path in (clone / "results").rglob("*") if path.is_file()]
    assert "prepare_data" in planned(clone, RUN_FILE)


@pytest.mark.slow
def test_a_partial_cache(clone: Path) -> None:
    """What is missing is named, what is there can be used, and the next run makes the rest."""
    md5 = hashlib.md5((clone / RESULTS / "plots" / "accuracy.png").read_bytes()).hexdigest()
    (clone / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).unlink()
    shutil.rmtree(clone / RESULTS / "plots")
    run("dvc", "remote", "remove", "folder", folder=clone)
    message = refused("dvc", "checkout", folder=clone)
    assert f"{RESULTS}/plots" in message
    assert planned(clone, RUN_FILE) == PLOTS | sample_grids()
    run("snakemake", "--configfile", RUN_FILE, folder=clone)
    assert (clone / RESULTS / "plots" / "accuracy.png").is_file()


@pytest.mark.slow
def test_a_full_disk(clone: Path) -> None:
    """A limit on the size of files stands for it: checkpoints are above it."""
    change(clone, joint={"steps": 4})
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 100; PATH={Path(sys.executable).parent}:$PATH snakemake --configfile {RUN_FILE}"],
        cwd=clone, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert limited.returncode != 0
    text = " ".join((limited.stdout + limited.stderr).split())
    assert "Traceback" not in text
    assert "train_joint/classifier.safetensors: cannot be written" in text
    assert "Free space" in text
    folder = clone / RESULTS / "jobs/seed_0/joint/task_1/train_joint"
    assert not [path for path in folder.rglob("*") if path.suffix == ".safetensors"]
    run("snakemake", "--configfile", RUN_FILE, folder=clone)
    assert planned(clone, RUN_FILE) == set()
