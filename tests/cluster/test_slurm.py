"""The quickstart through a real Slurm, with pretended GPUs; part of it, unless ``--cluster whole`` asks for all.

One training is cancelled, one loses its node, one is requeued, and one is killed. Meanwhile one plot asks for a
partition that does not exist, and another for more GPUs than there are.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml
from support.commands import make_clone, merged
from support.local_slurm import ACCOUNT, PARTITIONS, LocalSlurm, kill, local_slurm

from genifer.monitor.watch.plan import read_plan

log = logging.getLogger(__name__)

CHANGES: dict[str, Any] = {
    # As on a cluster: trainings ask for a GPU. As none of these can compute, they use the CPU. The machine that
    # submits has none either, and must not refuse so long a run.
    "runtime": {"device": "auto", "resume_every": 0.01, "max_cpu_hours": 1e-9},
}
"""What is not as in the quickstart."""
PART = {"methods": ["genifer", "finetune"], "scenario": {"tasks": [4, 3, 3]}}
"""The smallest run in which each of `INTERRUPTED` and another training takes place."""
SITE: dict[str, object] = {
    "resources": ["gpu=99"],
    "default-resources": {"slurm_account": ACCOUNT, "runtime": 30, "mem_mb": 2000},
    "slurm-partition-config": "partitions.yaml",
    "set-resources": {
        "plot_costs": {"slurm_partition": "nowhere"},
        "plot_forgetting": {"gpu": 9, "slurm_partition": "gpu"},
    },
    # On a cluster it asks less often.
    "slurm-init-seconds-before-status-checks": 1,
    "seconds-between-status-checks": 1,
}
SITE_WITHOUT_MISTAKES = {key: value for key, value in SITE.items() if key != "set-resources"}
INTERRUPTED = {
    # Snakemake submits a cancelled and a failed job again; Slurm itself starts the others again.
    "pretrain_classifier": (["CANCELLED", "COMPLETED"], 2),
    "pretrain_gan": (["NODE_FAIL", "COMPLETED"], 1),
    "train_genifer": (["REQUEUED", "COMPLETED"], 1),
    "train_gan": (["FAILED", "COMPLETED"], 2),
}
"""For each rule, one of whose trainings is interrupted: how its starts ended, and how often it was submitted."""
NOT_STARTED = ("plot_costs", "plot_forgetting")
SUMMARY = (
    "sacct -X --duplicates --noheader --parsable2 --format=Comment,State,AllocTRES"
    " | sed 's/_wildcards[^|]*//' | sort | uniq -c"
)
OUTPUT = "output"
SECONDS = 900.0


@dataclass(frozen=True)
class Started:
    """A training that runs in a job of Slurm."""

    job: str
    folder: Path


@dataclass(frozen=True)
class Run:
    """A run through Slurm, finished but for two plots, and the same run on this machine.

    Attributes:
        output: of Snakemake.
        interrupted: the interrupted trainings by their rules.
        records: one per start of a job, as `sacct` tells them.
    """

    clone: Path
    output: str
    local: Path
    interrupted: Mapping[str, Started]
    records: Sequence[dict[str, str]]

    @property
    def trainings(self) -> list[str]:
        """The rule of each training."""
        return [training.job for training in read_plan(self.results).trainings]

    @property
    def results(self) -> Path:
        return self.clone / "results" / "quickstart"

    def log(self, rule: str) -> str:
        return (self.interrupted[rule].folder / "log.txt").read_text()

    def starts(self, rule: str) -> list[dict[str, str]]:
        """The starts of an interrupted training."""
        job = self.interrupted[rule].job
        (comment,) = {record["Comment"] for record in self.records if record["JobIDRaw"] == job}
        return [record for record in self.records if record["Comment"] == comment]

    def of_rule(self, rule: str) -> list[dict[str, str]]:
        return [
            record for record in self.records if record["Comment"].split("_wildcards")[0] == f"rule_{rule}"
        ]


@pytest.fixture(scope="session")
def run(slurm: LocalSlurm, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Run:
    folder = tmp_path_factory.mktemp("cluster")
    clone, local = make_clone(folder / "clone"), make_clone(folder / "local")
    part = {} if pytestconfig.getoption("--cluster") == "whole" else PART
    for each in (clone, local):
        (each / "changes.yaml").write_text(yaml.safe_dump({**CHANGES, **part}))
    write_profiles(clone, SITE)

    # Both at once: a run through Slurm waits most of the time.
    locally = ["--cores", "1", "--config", "runtime={max_cpu_hours: 24}"]
    with started(locally, local, slurm) as beside:
        with started(["--workflow-profile", "slurm", "--keep-going"], clone, slurm) as submitting:
            interrupted = {rule: interrupt(rule, slurm, submitting, clone) for rule in INTERRUPTED}
            assert submitting.wait(timeout=SECONDS) == 1
        assert beside.wait(timeout=SECONDS) == 0
    log.info("%s", summary(slurm))
    return Run(clone, (clone / OUTPUT).read_text(), local, interrupted, records(slurm))


def interrupt(rule: str, slurm: LocalSlurm, submitting: subprocess.Popen[bytes], clone: Path) -> Started:
    """Wait for the first training of a rule, and interrupt it."""
    training = under_way(slurm, submitting, clone, rule)
    match INTERRUPTED[rule][0][0]:
        case "CANCELLED":
            slurm.call("scancel", training.job)
        case "NODE_FAIL":
            slurm.lose_node(slurm.call("squeue", "--noheader", "--jobs", training.job, "--format=%N").strip())
        case "REQUEUED":
            slurm.call("scontrol", "requeue", training.job)
        case "FAILED":
            processes = slurm.processes(SLURM_JOB_ID=training.job)
            kill(process for process in processes if process.cmdline()[1:3] == ["-m", "genifer"])
    return training


@contextmanager
def started(options: list[str], clone: Path, slurm: LocalSlurm) -> Iterator[subprocess.Popen[bytes]]:
    """Snakemake in the background; an error meanwhile shows what it and Slurm have said."""
    with (clone / OUTPUT).open("w") as output:
        running = subprocess.Popen(
            ["snakemake", "--configfile", "config/quickstart.yaml", "changes.yaml", *options],
            cwd=clone,
            env=environment(slurm, "--workflow-profile" in options),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield running
    except BaseException as error:
        error.add_note((clone / OUTPUT).read_text() + slurm.logs())
        raise
    finally:
        running.kill()
        running.wait()


def write_profiles(clone: Path, site: dict[str, object]) -> None:
    """Both profiles, as docs/run-on-a-cluster.md says, but for `config`, with which a training insists on a GPU."""
    profile = clone / "workflow" / "profiles" / "slurm" / "config.yaml"
    profile.write_text(re.sub("^config: .*", "", profile.read_text(), flags=re.M))
    folder = clone / "workflow" / "profiles" / "site"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(site))
    partitions = {"gpu": {"max_gpu": 4, "max_runtime": 1440}, "cpu": {"max_runtime": 1440}}
    (folder / "partitions.yaml").write_text(yaml.safe_dump({"partitions": partitions}))


def environment(slurm: LocalSlurm, with_site: bool) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{slurm.environment['PATH']}"
    # Also where there is a GPU, of which Slurm knows nothing.
    return {
        **slurm.environment,
        "PATH": path,
        "CUDA_VISIBLE_DEVICES": "",
        **({"SNAKEMAKE_PROFILE": "workflow/profiles/site"} if with_site else {}),
    }


def under_way(slurm: LocalSlurm, submitting: subprocess.Popen[bytes], clone: Path, rule: str) -> Started:
    """The first training of a rule, as soon as it has something to resume from."""
    until = time.monotonic() + SECONDS
    pattern = f"results/quickstart/jobs/seed_0/*/task_*/{rule}/resume/step_*.resume"
    while not (files := list(clone.glob(pattern))):
        assert submitting.poll() is None, f"Snakemake ended before {rule} began"
        assert time.monotonic() < until, f"{rule} does not begin"
        time.sleep(0.05)
    (job,) = queued(slurm, rule, "--states=running")
    return Started(job, files[0].parents[1])


@contextmanager
def one_gpu_taken_of_each_node(slurm: LocalSlurm) -> Iterator[dict[str, str]]:
    """Jobs of someone else, by their nodes."""
    options = [f"--account={ACCOUNT}", "--partition=gpu", "--gpus=1", "--mem=100", "--output=/dev/null"]
    jobs = {
        node: slurm.call("sbatch", "--parsable", *options, f"--nodelist={node}", "--wrap=sleep 1000").strip()
        for node in PARTITIONS["gpu"]
    }
    try:
        wait_until(lambda: all(in_queue(slurm, job) == "RUNNING None" for job in jobs.values()))
        yield jobs
    finally:
        slurm.call("scancel", *jobs.values())


def queued(slurm: LocalSlurm, rule: str, *options: str) -> list[str]:
    """The jobs of a rule that wait or run."""
    lines = slurm.call("squeue", "--noheader", "--format=%i %k", *options).splitlines()
    return [line.split()[0] for line in lines if f"rule_{rule}_" in line]


def in_queue(slurm: LocalSlurm, job: str) -> str:
    """State of a job and why it waits."""
    return slurm.call("squeue", "--noheader", f"--jobs={job}", "--format=%T %r").strip()


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.2)


def records(slurm: LocalSlurm) -> list[dict[str, str]]:
    """What sacct knows of all jobs, once it knows how each has ended."""
    limit = time.monotonic() + SECONDS
    while True:
        told = recorded(slurm)
        if not {"RUNNING", "PENDING"} & {record["State"] for record in told}:
            return told
        assert time.monotonic() < limit, told
        time.sleep(1)


def summary(slurm: LocalSlurm) -> str:
    """Jobs by rule, state and assigned resources, in the command of docs/run-on-a-cluster.md."""
    return slurm.call("sh", "-c", SUMMARY)


def recorded(slurm: LocalSlurm) -> list[dict[str, str]]:
    names = [
        "JobIDRaw",
        "Comment",
        "State",
        "Account",
        "Partition",
        "NodeList",
        "Timelimit",
        "ReqTRES",
        "AllocTRES",
    ]
    told = slurm.call(
        "sacct", "-X", "--duplicates", "--parsable2", "--noheader", f"--format={','.join(names)}"
    )
    return [dict(zip(names, line.split("|"), strict=True)) for line in told.splitlines()]


def checksums(folder: Path, pattern: str) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(pattern))
    }


def test_results_are_those_of_a_local_run_to_the_bit(run: Run) -> None:
    local = run.local / "results" / "quickstart"
    assert (run.results / "accuracy.csv").read_bytes() == (local / "accuracy.csv").read_bytes()
    checkpoints = checksums(run.results, "*.safetensors")
    assert {Path(path).parent.name for path in checkpoints} >= set(run.trainings)
    assert checkpoints == checksums(local, "*.safetensors")


def test_interrupted_trainings_resumed(run: Run) -> None:
    for rule, (states, submissions) in INTERRUPTED.items():
        starts = run.starts(rule)
        assert [start["State"].split()[0] for start in starts] == states, rule
        assert len({start["JobIDRaw"] for start in starts}) == submissions, rule
        assert "resumes after step" in run.log(rule), rule
    before, after = (start["NodeList"] for start in run.starts("pretrain_gan"))
    assert before != after
    # The others have reported that they were stopped.
    for rule in ("pretrain_gan", "train_gan"):
        node = run.starts(rule)[0]["NodeList"]
        lost = f"the previous attempt on {node} ended without reporting (node lost or job killed) after step"
        assert lost in run.log(rule), rule
    assert "without reporting" not in run.log("pretrain_classifier")


def test_trainings_that_were_not_interrupted_ran_once_or_lost_their_node(run: Run) -> None:
    interrupted = [start for rule in INTERRUPTED for start in run.starts(rule)]
    others: dict[str, list[str]] = {}
    for record in (record for rule in set(run.trainings) for record in run.of_rule(rule)):
        if record not in interrupted:
            others.setdefault(record["Comment"], []).append(record["State"])
    assert len(others) == len(run.trainings) - len(INTERRUPTED) > 0
    assert all(states in (["COMPLETED"], ["NODE_FAIL", "COMPLETED"]) for states in others.values()), others


def test_trainings_ask_for_one_gpu_and_other_jobs_for_none(run: Run) -> None:
    rules = {record["Comment"].split("_wildcards")[0].removeprefix("rule_") for record in run.records}
    assert {*run.trainings, "evaluate", "evaluate_replay", "plot_accuracy", "tabulate"} <= rules
    refused = [record for rule in NOT_STARTED for record in run.of_rule(rule)]
    for record in (record for record in run.records if record not in refused):
        training = any(record in run.of_rule(rule) for rule in set(run.trainings))
        assert ("gres/gpu=1" in record["ReqTRES"].split(",")) == training, record
        assert ("gres/gpu" in record["ReqTRES"]) == training, record
        assert record["Partition"] == ("gpu" if training else "cpu"), record
        assert record["NodeList"] in PARTITIONS[record["Partition"]], record
        assert record["Account"] == ACCOUNT, record
        assert record["Timelimit"] == "00:30:00", record


def test_a_partition_that_does_not_exist_and_too_many_gpus_are_named(run: Run) -> None:
    assert "invalid partition specified: nowhere" in run.output
    assert "Requested node configuration is not available" in run.output
    assert "--gpus=9" in run.output
    local = run.local / "results" / "quickstart"
    plots = {path.stem for path in local.rglob("*.png")} - {path.stem for path in run.results.rglob("*.png")}
    methods = pd.read_csv(local / "accuracy.csv")["method"].unique()
    classes = {f"forgotten_classes_{method}" for method in methods}
    assert plots == {"costs", "budget", "forgetting", *classes}


def test_the_same_command_makes_what_is_missing(run: Run, slurm: LocalSlurm) -> None:
    write_profiles(run.clone, SITE_WITHOUT_MISTAKES)
    before = checksums(run.results, "*.safetensors")
    with started(["--workflow-profile", "slurm"], run.clone, slurm) as submitting:
        assert submitting.wait(timeout=SECONDS) == 0, (run.clone / OUTPUT).read_text()
    made = records(slurm)[len(run.records) :]
    assert {record["Comment"] for record in made} == {f"rule_{rule}" for rule in NOT_STARTED}
    assert not [record for record in made if "gres/gpu" in record["ReqTRES"]]
    assert checksums(run.results, "*.safetensors") == before


def test_the_gpus_of_a_training_are_on_one_node(slurm: LocalSlurm, tmp_path: Path) -> None:
    """While each node has one free GPU, a training of two waits; it starts when one node has both free."""
    slurm.start_nodes()
    clone = make_clone(tmp_path / "clone")
    changes = {"pretrain_classifier": {"steps": 20}, "runtime": {"gpus_per_job": 2}}
    (clone / "changes.yaml").write_text(yaml.safe_dump(merged(CHANGES, changes)))
    write_profiles(clone, SITE_WITHOUT_MISTAKES)
    options = ["--workflow-profile", "slurm", "--until", "pretrain_classifier"]
    with one_gpu_taken_of_each_node(slurm) as others, started(options, clone, slurm) as submitting:
        wait_until(lambda: queued(slurm, "pretrain_classifier") != [])
        (job,) = queued(slurm, "pretrain_classifier")
        wait_until(lambda: in_queue(slurm, job) != "PENDING None")
        assert in_queue(slurm, job) == "PENDING Resources"
        slurm.call("scancel", others["gpu2"])
        assert submitting.wait(timeout=SECONDS) == 0
    (record,) = [record for record in records(slurm) if record["JobIDRaw"] == job]
    assert (record["State"], record["NodeList"]) == ("COMPLETED", "gpu2")
    assert {"gres/gpu=2", "node=1"} <= set(record["AllocTRES"].split(","))
    assert list(clone.glob("results/quickstart/jobs/seed_0/*/*/pretrain_classifier/classifier.safetensors"))


def test_everything_is_taken_down_after_a_failure() -> None:
    seen: dict[str, psutil.Process] = {}
    folders: list[Path] = []

    def fail_while_a_job_runs() -> None:
        with local_slurm() as slurm:
            folders.append(slurm.folder)
            slurm.call("sbatch", f"--account={ACCOUNT}", "--output=/dev/null", "--wrap=sleep 1000")
            while "sleep" not in seen:
                seen.update({process.name(): process for process in slurm.processes()})
                time.sleep(0.1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_a_job_runs()
    assert {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd"} <= set(seen)
    assert not [name for name, process in seen.items() if process.is_running()]
    assert not folders[0].exists()
