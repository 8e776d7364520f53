"""What `snakemake` prints: one line per finished job, a plan for a dry run, errors once."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from support.commands import call, make_clone, write_run_file

FINISHED = re.compile(
    r"\[ ?(\d+)/(\d+)\] \d:\d\d  (\w+(?: \w+)*(?: \(\w+\))?)(?: +task \d)?(?:  seed \d)? +\d+ s\b"
)
LONGEST = 120


def messages(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Lines of a command, but for Snakemake's first one on its profile."""
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("Using workflow specific profile")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A clone, and the command of many tutorials in it: ``--cores`` without a number, as Snakemake's help has it."""
    clone = make_clone(tmp_path_factory.mktemp("terminal") / "clone")
    run_file = write_run_file(clone, methods=["finetune"])
    done = call(["snakemake", "--cores", "--resources", "gpu=1", "--configfile", run_file], clone)
    assert done.returncode == 0, done.stderr
    return clone, done


@pytest.fixture
def clone(run: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    return run[0]


def test_a_run_can_be_watched(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    clone, done = run
    lines = messages(done)
    jobs = [found for line in lines if (found := FINISHED.match(line))]
    total = len(jobs)
    assert [(int(job[1]), int(job[2])) for job in jobs] == [(n, total) for n in range(1, total + 1)]
    assert {"prepare data", "pretrain classifier", "train finetune", "evaluate (finetune)"} <= {
        job[3] for job in jobs
    }
    assert re.search(r"train finetune +task 2  seed 0 +\d+ s  loss \S+  accuracy \S+$", done.stderr, re.M)
    assert all(len(line) < LONGEST for line in lines), max(lines, key=len)
    assert len(lines) < total + 12
    screen = lines[lines.index(jobs[-1].string) + 1 :]
    assert screen[0].split()[:2] == ["method", "seeds"]
    assert any(line.split()[-1] == "results/quickstart/plots/accuracy.png" for line in screen)
    [log] = (clone / ".snakemake" / "log").glob("*.log")
    assert "reason: Missing output files: " in log.read_text()


def test_cores_may_end_the_command(clone: Path) -> None:
    again = call(["snakemake", "--configfile", write_run_file(clone, methods=["finetune"]), "-c"], clone)
    assert "Nothing to be done" in again.stderr


def test_a_plan_says_what_and_why(clone: Path) -> None:
    """After the run above, one changed setting: only what depends on it, one line per rule and reason."""
    run_file = write_run_file(clone, methods=["finetune", "joint"], finetune={"steps": 4})
    done = call(["snakemake", "-n", "--configfile", run_file], clone)
    assert done.returncode == 0, done.stderr
    rows = [re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines()]
    rows = rows[rows.index(["jobs", "rule", "task", "seed", "why"]) :]
    assert ["2", "train joint", "1-2", "0", "not made yet"] in rows
    assert ["1", "train finetune", "1", "0", "changed settings"] in rows
    assert int(rows[-1][0]) == sum(int(row[0]) for row in rows[1:-1])
    assert "pretrain classifier" not in done.stdout


def test_a_plan_names_what_is_missing_here(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    said = call(["snakemake", "-n"], clone).stdout
    assert "needs a network" in said
    assert "cifar-100-python.tar.gz" in said
    if not Path("/proc/driver/nvidia").exists():
        assert "no GPU" in said
    done = call(["snakemake", "-n", "--config", "data={archive: nowhere.tar.gz}"], clone)
    assert "data.archive: nowhere.tar.gz does not exist" in done.stdout


def test_a_wrong_setting_is_one_message(clone: Path) -> None:
    done = call(["snakemake", "-n", "--config", "seeds=[-1]"], clone)
    assert done.returncode == 1
    [line, *others] = messages(done)
    assert line.startswith("settings: seeds")
    assert not [other for other in others if "common.smk" in other], others


def test_an_error_is_printed_once(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    run_file = write_run_file(
        clone, methods=["finetune"], finetune={"optimizer": {"name": "sgd", "learning_rate": 1e38}}
    )
    done = call(["snakemake", "--configfile", run_file], clone)
    assert done.returncode == 1
    text = "\n".join(messages(done))
    assert text.count("went wrong at step") == 1
    assert "train finetune" in text
    assert "log: results/quickstart/jobs/seed_0/finetune/task_1/train_finetune/log.txt" in text
    assert "1 job failed. The same command continues from what is there." in text
    assert "Traceback" not in text
    assert "--settings" not in text


def test_snakemakes_own_messages_on_demand(clone: Path) -> None:
    run_file = write_run_file(clone, methods=["finetune"])
    said = call(["snakemake", "-n", "--verbose", "--forcerun", "tabulate", "--configfile", run_file], clone)
    assert "rule tabulate:" in said.stdout
    commands = call(
        ["snakemake", "--printshellcmds", "--forcerun", "tabulate", "--configfile", run_file], clone
    )
    assert "python -m genifer --log" in commands.stderr
    quiet = call(["snakemake", "--quiet", "all", "--forcerun", "tabulate", "--configfile", run_file], clone)
    assert not [line for line in messages(quiet) if "tabulate" in line]


def test_a_terminal_shows_what_is_running(tmp_path: Path) -> None:
    """On a terminal a live line shows the job under way, and leaves nothing behind."""
    clone = make_clone(tmp_path)
    run_file = write_run_file(clone, methods=["finetune"], pretrain_classifier={"steps": 200})
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["snakemake", "--configfile", str(run_file), "--", "results/quickstart/accuracy.csv"],
        cwd=clone,
        env=os.environ | {"COLUMNS": "110"},
        stderr=theirs,
        stdout=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the end, on Linux
            break
        if not part:
            break
        seen += part
    assert process.wait() == 0
    text = seen.decode()
    assert re.search(r"pretrain classifier +task 0  seed 0  \d+ s", text)
    lines = [re.split(r"\x1b\[2K", line)[-1].strip() for line in text.splitlines()]
    assert sum("pretrain classifier" in line for line in lines) >= 1
    assert "waiting for the next job" not in lines[-1]
