"""The workflow as users run it: snakemake in a fresh clone, then again, then with a changed setting."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from support.commands import call, make_clone, planned, write_run_file
from support.data_files import write_cifar100
from support.published import write_published


def counted(jobs: set[str]) -> dict[str, int]:
    return dict(Counter(job.split()[0] for job in jobs))


ONCE = [
    *["tabulate", "tabulate_replay", "tabulate_training", "tabulate_costs", "write_tables"],
    *["plot_accuracy", "plot_forgetting", "plot_replay", "plot_training", "plot_costs"],
]
"""Rules with one job in each run."""


@pytest.fixture(scope="module")
def finished(recorded: Path) -> Path:
    return recorded


def test_a_dry_run_of_the_paper_shows_the_chain(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    assert counted(planned(clone, clone / "config" / "config.yaml")) == {
        "download_data": 1,
        "prepare_data": 1,
        "pretrain_classifier": 1,
        "pretrain_gan": 1,
        "train_genifer": 5,
        "train_gan": 4,
        "train_finetune": 5,
        "train_joint": 5,
        "evaluate": 16,
        "evaluate_replay": 5,
        "plot_sample_grids": 5,
        **dict.fromkeys(ONCE, 1),
    }


def test_tables_and_plots(finished: Path) -> None:
    results = finished / "results" / "quickstart"
    accuracy = pd.read_csv(results / "accuracy.csv")
    assert list(accuracy.columns) == [
        "run", "method", "seed", "after_task", "eval_task", "n_classes", "n_test", "n_correct", "accuracy",
        "class_order",
    ]  # fmt: skip
    assert accuracy.groupby("method").size().to_dict() == {"genifer": 6, "finetune": 6, "joint": 6}
    first = accuracy[accuracy["after_task"] == 0]
    assert first["n_correct"].nunique() == 1
    summary = pd.read_csv(results / "summary.csv")
    names = [
        "average_incremental_accuracy",
        "average_incremental_accuracy_with_first_task",
        "final_accuracy",
        "forgetting",
        "backward_transfer",
        "intransigence",
    ]
    statistics = [f"{n}_{s}" for n in names for s in ("mean", "std")]
    assert list(summary.columns) == ["run", "method", "n_seeds", "old_images", *statistics, "class_order"]
    assert {path.stem for path in (results / "metrics").iterdir()} == {"genifer", "finetune", "joint"}
    plots = ["accuracy", "forgetting", "training_first_task", "costs", "budget"]
    plots += [f"{kind}_genifer" for kind in ("training_gan", "replay_agreement", "replay_frechet")]
    plots += [
        f"{kind}_{method}"
        for kind in ("accuracy_matrix", "confusion", "forgotten_classes", "training")
        for method in ("genifer", "finetune", "joint")
    ]
    plots += [
        f"{kind}_{gan}"
        for kind in ("replay", "nearest")
        for gan in ("shared_seed_0_task_0", "genifer_seed_0_task_1")
    ]
    assert {path.stem for path in (results / "plots").iterdir()} == set(plots)
    for name in plots:
        with Image.open(results / "plots" / f"{name}.png") as image:
            assert min(image.size) > 80
            assert len(image.convert("RGB").getcolors(1 << 24)) > 10
        assert "</svg>" in (results / "plots" / f"{name}.svg").read_text()
        assert (results / "plots" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    for training in ("shared/task_0/pretrain_gan", "genifer/task_1/train_gan", "joint/task_2/train_joint"):
        folder = results / "jobs" / "seed_0" / training
        names_there = {path.name for path in folder.iterdir()}
        assert {"metrics.csv", "log.txt", "benchmark.tsv", "status.json", "tensorboard"} < names_there
        assert "steps" in (folder / "log.txt").read_text()
    assert "genifer" in call(["genifer", "summary", "quickstart"], finished).stdout
    watched = call(["genifer", "watch", "quickstart"], finished)
    assert watched.stdout == "quickstart: done, 9 of 9 trainings done\n", watched.stderr


def test_every_table_names_the_run_and_what_it_is_of(finished: Path) -> None:
    """So that tables of several runs can be joined: the task of the first task is 0 in all of them."""
    tables = {path.stem: pd.read_csv(path) for path in (finished / "results" / "quickstart").glob("*.csv")}
    assert len(tables) == 9
    for name, table in tables.items():
        assert table.columns[0] == "run"
        assert set(table["run"]) == {"quickstart"}
        assert ("group" if name == "costs" else "method") in table
    confusion = tables["confusion"]
    names = dict(zip(confusion["label"], confusion["class_name"], strict=True))
    assert confusion["predicted"].map(names).tolist() == confusion["predicted_name"].tolist()
    costs = tables["costs"]
    jobs = costs[costs["job"] != "prepare_data"]
    assert jobs[jobs["group"] == "shared"]["task"].eq(0).all()
    assert jobs[["seed", "task"]].notna().all(axis=None)
    measured = ["seconds", "cpu_seconds", "memory_mb", "ended", "machine", "genifer", "torch", "python"]
    assert costs[measured].notna().all(axis=None)
    assert costs["cpu_seconds"].gt(0).all()
    assert costs["memory_mb"].gt(50).all()


def test_how_it_was_made(finished: Path) -> None:
    """The settings there give the same run; Snakemake was called twice, but the second time made nothing."""
    made = json.loads((finished / "results" / "quickstart" / "provenance.json").read_text())
    [invocation] = made["invocations"]
    assert invocation["command"] == "snakemake --configfile config/quickstart.yaml"
    assert invocation["succeeded"]
    assert invocation["began"] <= invocation["ended"]
    assert (invocation["jobs"]["train_genifer"], invocation["jobs"]["tabulate"]) == (2, 1)
    assert invocation["source"] == {"commit": None}  # nothing was committed yet
    environment = made["environments"][invocation["environment"]]
    assert environment["packages"]["torch"] == version("torch")
    assert environment["processor"]
    again = call(["genifer", "settings", "--run", "quickstart"], finished)
    assert again.returncode == 0, again.stderr
    (finished / "again.yaml").write_text(again.stdout)
    assert planned(finished, finished / "again.yaml") == set()


def test_nothing_is_done_twice(finished: Path) -> None:
    run_file = write_run_file(finished)
    for path in (finished / "results").rglob("*"):
        when = random.uniform(1e9, 1.7e9)
        os.utime(path, (when, when))
    assert planned(finished, run_file) == set()


def test_where_a_job_computes_changes_nothing(finished: Path) -> None:
    runtime = {"device": "cpu", "threads": 1, "compile": "off"}
    assert planned(finished, write_run_file(finished, runtime=runtime)) == set()


CONDA = """#!/bin/sh
case "$*" in
    "info --json") echo '{"conda_prefix": "/opt/conda", "platform": "linux-64"}' ;;
    --version) echo "conda 25.9.0" ;;
    "config --get channel_priority --json") echo '{"get": {"channel_priority": "strict"}}' ;;
    *) exit 1 ;;
esac
"""


def test_the_software_environment_changes_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --sdm conda, here with a stand-in for conda, results from another environment stay valid."""
    (tmp_path / "conda").write_text(CONDA)
    (tmp_path / "conda").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    run_file = write_run_file(finished)
    done = call(["snakemake", "--dry-run", "--sdm", "conda", "--configfile", run_file], finished)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "environment environment.yml will be created" in done.stdout
    assert "Nothing to be done" in done.stdout


def test_published_figures_draw_plots_and_train_nothing(finished: Path) -> None:
    figure = ["A method", "digits", "4 + 2 x 3", "final_accuracy", "", "50", "A paper"]
    write_published(finished / "published.csv", figure)
    run_file = write_run_file(finished, plots={"published": "published.csv"})
    jobs = planned(finished, run_file)
    assert "plot_published" in jobs
    assert all(job.startswith("plot_") for job in jobs)


def test_a_file_without_published_figures_stops_before_anything_is_written(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    write_published(
        clone / "published.csv", ["A method", "digits", "4 + 2 x 3", "accuracy", "", "50", "A paper"]
    )
    run_file = write_run_file(clone, plots={"published": "published.csv"})
    done = call(["snakemake", "--configfile", run_file], clone)
    assert done.returncode != 0
    assert "plots.published: published.csv, line 2: metric is 'accuracy'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (clone / "results").exists()


def test_trainings_on_a_cpu_run_side_by_side(tmp_path: Path) -> None:
    """They wait for cores, and for no GPU; with a GPU they wait for it."""
    clone = make_clone(tmp_path)
    for device, gpus in (("cpu", 0), ("auto", 1)):
        run_file = write_run_file(clone, runtime={"device": device, "threads": 2})
        done = call(["snakemake", "-n", "--verbose", "--cores", "4", "--configfile", run_file], clone)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        resources = [line for line in lines if "    resources:" in line and "gpu=" in line]
        assert len(resources) == 9
        assert lines.count("    threads: 2") == 9 + 7 + 2 + 1  # so have evaluations and the preparation
        assert all(f"gpu={gpus}," in line for line in resources)


def test_a_run_goes_on_from_checkpoints_of_a_later_task(finished: Path) -> None:
    """As after an import: nothing of the first tasks is trained, and the result is that of the whole run."""
    whole = finished / "results" / "quickstart"
    task = whole / "jobs" / "seed_0" / "genifer" / "task_1"
    start = {
        "task": 1,
        "classifier": str(task / "train_genifer" / "classifier.safetensors"),
        "gan": str(task / "train_gan" / "gan.safetensors"),
    }
    run_file = write_run_file(finished, run="later", methods=["genifer"], start=start)
    assert counted(planned(finished, run_file)) == {
        "prepare_data": 1,
        "use_classifier": 1,
        "use_gan": 1,
        "train_genifer": 1,
        "evaluate": 2,
        "evaluate_replay": 1,
        "plot_sample_grids": 1,
        **dict.fromkeys(ONCE, 1),
    }
    done = call(["snakemake", "--configfile", run_file], finished)
    write_run_file(finished)
    assert done.returncode == 0, done.stdout + done.stderr
    later = pd.read_csv(finished / "results" / "later" / "accuracy.csv")
    expected = pd.read_csv(whole / "accuracy.csv").query("method == 'genifer' and after_task >= 1")
    expected = expected.reset_index(drop=True).assign(run="later")
    pd.testing.assert_frame_equal(later, expected)


def test_a_start_that_does_not_fit_stops_the_run(finished: Path) -> None:
    first = finished / "results" / "quickstart" / "jobs" / "seed_0" / "shared" / "task_0"
    start = {"classifier": str(first / "pretrain_gan" / "gan.safetensors")}
    run_file = write_run_file(finished, run="wrong", start=start)
    done = call(["snakemake", "--configfile", run_file], finished)
    assert done.returncode != 0
    assert "holds a GAN, but a classifier is needed here" in done.stdout + done.stderr
    run_file = write_run_file(finished, run="wrong", start={"classifier": "nowhere.safetensors"})
    done = call(["snakemake", "--configfile", run_file], finished)
    write_run_file(finished)
    assert done.returncode != 0
    assert "nowhere.safetensors" in done.stdout + done.stderr


def test_a_run_in_the_direct_mode(finished: Path) -> None:
    """The generator makes features, so there are no sample grids."""
    run_file = write_run_file(
        finished,
        run="direct",
        methods=["genifer"],
        start={
            "classifier": "results/quickstart/jobs/seed_0/shared/task_0/pretrain_classifier/classifier.safetensors",
        },
        gan={"matching_mode": "direct", "ada": {"mode": "none"}},
        generator={"channels": [8, 8]},
        genifer={"feature_distillation": "new"},
    )
    done = call(["snakemake", "--configfile", run_file], finished)
    write_run_file(finished)
    assert done.returncode == 0, done.stdout + done.stderr
    results = finished / "results" / "direct"
    assert len(pd.read_csv(results / "accuracy.csv")) == 6
    assert not list((results / "plots").glob("replay_seed*"))
    first = results / "jobs" / "seed_0" / "shared" / "task_0"
    drawn = call(
        ["genifer", "plot-sample-grids", "--config", run_file, "--gan", first / "pretrain_gan" / "gan.safetensors",
         "--classifier", first / "pretrain_classifier" / "classifier.safetensors",
         "--nearest", first / "evaluate_replay" / "nearest.safetensors", "--output", "x",
         results / "data" / "task_0_test.safetensors"],
        finished,
    )  # fmt: skip
    assert drawn.returncode == 1
    assert "generates features of stage 4" in drawn.stderr


def test_an_order_per_seed_prepares_data_per_seed(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    run_file = write_run_file(clone, methods=["finetune"], seeds=[3, 4], scenario={"class_order": "seed"})
    jobs = planned(clone, run_file)
    assert {job for job in jobs if "prepare" in job} == {"prepare_data seed=3", "prepare_data seed=4"}


@pytest.mark.slow
def test_a_run_with_an_order_per_seed(tmp_path: Path) -> None:
    """Its results are those of runs of one seed with that order; another seed retrains nothing."""
    clone = make_clone(tmp_path)
    changes = {"methods": ["finetune"], "scenario": {"class_order": "seed"}}
    run_file = write_run_file(clone, seeds=[3, 4], **changes)
    done = call(["snakemake", "--configfile", run_file], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    drawn = pd.read_csv(clone / "results" / "quickstart" / "accuracy.csv")
    order = call(["genifer", "summary"], clone)
    assert "drawn from the seed (3 and 4)" in order.stdout, order.stderr
    assert planned(clone, run_file) == set()
    more = planned(clone, write_run_file(clone, seeds=[3, 4, 5], **changes))
    assert {job for job in more if "train" in job and "seed=" in job and "seed=5" not in job} == set()
    single = write_run_file(clone, run="four", seeds=[4], methods=["finetune"], scenario={"class_order": 4})
    done = call(["snakemake", "--configfile", single], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = pd.read_csv(clone / "results" / "four" / "accuracy.csv")
    own = drawn[drawn["seed"] == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, expected.assign(run="quickstart", class_order="seed"))


def test_bad_settings_stop_before_anything_is_written(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    run_file = write_run_file(clone, gan={"batch_size": 48})
    done = call(["snakemake", "--configfile", run_file], clone)
    assert done.returncode != 0
    assert "gan.batch_size" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (clone / "results").exists()


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("seed_7/finetune/task_1", "has no seed_7 in results/quickstart/jobs; there are: seed_3."),
        ("seed_3/lwf/task_1", "has no lwf in results/quickstart/jobs/seed_3; there are: shared, finetune."),
        (
            "seed_3/finetune/task_4",
            "has no task_4 in results/quickstart/jobs/seed_3/finetune; there are: task_1, ",
        ),
    ],
    ids=["seed", "method", "task"],
)
def test_a_file_of_a_job_that_the_run_lacks(tmp_path: Path, job: str, message: str) -> None:
    clone = make_clone(tmp_path)
    run_file = write_run_file(clone, seeds=[3], methods=["finetune"])
    target = f"results/quickstart/jobs/{job}/evaluate/accuracy.csv"
    done = call(["snakemake", target, "--configfile", run_file], clone)
    assert done.returncode != 0
    assert f"{target}: the run quickstart {message}" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (clone / "results").exists()


def test_a_missing_archive_stops_the_run_before_its_first_job(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    data = {"dataset": "image_folder", "archive": "photos.tar.gz"}
    done = call(["snakemake", "--configfile", write_run_file(clone, data=data)], clone)
    assert done.returncode != 0
    assert "data.archive: photos.tar.gz does not exist" in done.stdout + done.stderr
    assert not (clone / "results").exists()


def no_gpu() -> bool:
    return call(["python", "-c", "import torch; assert torch.cuda.is_available()"]).returncode != 0


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
def test_the_paper_does_not_start_on_a_cpu_by_mistake(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    done = call(["snakemake", "--cores", "all", "--resources", "gpu=1"], clone)
    assert done.returncode != 0
    message = " ".join((done.stdout + done.stderr).split())
    assert "days on this CPU" in message
    assert "runtime.device: cpu" in message
    assert not (clone / "results" / "paper").exists()


def test_lint_is_clean() -> None:
    assert call(["snakemake", "--lint"]).returncode == 0
    assert call(["snakemake", "--lint", "--snakefile", "workflow/grid.smk"]).returncode == 0
    assert call(["snakefmt", "--check", "workflow"]).returncode == 0


@pytest.mark.slow
def test_the_papers_configuration_runs(tmp_path: Path) -> None:
    """config.yaml with the paper's networks and one or two steps per training, on a small archive of CIFAR-100's format.

    Only genifer, because it is the only method of the run that trains all networks.
    """
    clone = make_clone(tmp_path)
    md5 = write_cifar100(clone / "small.tar.gz")
    changes = [
        "methods=[genifer]",
        "data={archive: small.tar.gz, archive_md5: " + md5 + "}",
        "runtime={device: cpu, threads: 1}",  # threads of several jobs would wait for each other
        *(f"{block}={{steps: 1}}" for block in ("pretrain_classifier", "genifer", "train_gan")),
        "pretrain_gan={steps: 2}",
    ]
    done = call(["snakemake", "--config", *changes], clone, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = pd.read_csv(clone / "results" / "paper" / "accuracy.csv")
    assert len(accuracy) == 21
    assert accuracy[accuracy["after_task"] == 5].groupby("method")["n_classes"].sum().eq(100).all()


@pytest.mark.slow
def test_the_quickstart_learns_without_forgetting(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    done = call(["snakemake", "--configfile", "config/quickstart.yaml"], clone, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    results = clone / "results" / "quickstart"
    average = pd.read_csv(results / "summary.csv").set_index("method")["average_incremental_accuracy_mean"]
    assert average["joint"] > 0.97
    assert average["genifer"] > 0.92
    assert average["finetune"] < 0.4
    assert pd.read_csv(results / "costs.csv")["memory_mb"].max() < 2000


def test_pretrained_weights_are_downloaded_or_a_file_of_the_run(tmp_path: Path) -> None:
    """And other weights in the file train the first classifier again."""
    clone = make_clone(tmp_path)
    changes = {
        "methods": ["finetune"],
        "data": {"channels": 3},
        "pretrain_classifier": {"steps": 1, "batch_size": 2},
    }
    network = {"width": 64, "pretrained": "imagenet"}
    downloading = planned(clone, write_run_file(clone, **changes, classifier=network))
    assert "download_weights_resnet18" in downloading
    weights = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(weights, clone / "weights.pth")
    run_file = write_run_file(clone, **changes, classifier=network | {"pretrained": "weights.pth"})
    assert planned(clone, run_file) == downloading - {"download_weights_resnet18"}
    first = "results/quickstart/jobs/seed_0/shared/task_0/pretrain_classifier/classifier.safetensors"
    done = call(["snakemake", first, "--configfile", run_file], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    job = "pretrain_classifier group=shared seed=0 task=0"
    (clone / "weights.pth").touch()
    assert job not in planned(clone, run_file)
    torch.save({name: tensor * 2 for name, tensor in weights.items()}, clone / "weights.pth")
    assert job in planned(clone, run_file)
