"""An interrupted training ends with the same bits as an undisturbed one."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from support.commands import TINY, call, make_clone, merged
from support.started import start, wait_for
from support.warm_start import cold_environment

LONGER = merged(
    TINY,
    {
        "runtime": {"deterministic": True, "resume_every": 0, "trackers": []},
        "pretrain_classifier": {
            "steps": 60,
            "optimizer": {"schedule": "plateau", "epochs": 5, "patience": 0},
        },
        "gan": {"r1_interval": 3, "ada": {"mode": "adaptive", "probability": 0.3, "full_range_steps": 40}},
        "pretrain_gan": {"steps": 120, "ema_rampup_steps": 20},
        "train_gan": {"steps": 120, "ema_rampup_steps": 20},
        "genifer": {"steps": 120, "optimizer": {"name": "radam", "schedule": "exponential", "epochs": 6}},
        "finetune": {"steps": 120, "optimizer": {"name": "adam", "schedule": "linear", "epochs": 6}},
        "joint": {"steps": 120},
    },
)
"""Every kind of state has a share: optimizers, schedules, R1, augmentation, EMA."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run file and its prepared images."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "run.yaml").write_text(yaml.safe_dump(LONGER))
    done = call(["genifer", "prepare-data", "--config", "run.yaml", "--output", "data"], folder)
    assert done.returncode == 0, done.stderr
    return folder


def training(output: str) -> list[str]:
    options = ["--config", "run.yaml", "--output", output, "data/task_0_train.safetensors"]
    return [sys.executable, "-m", "genifer", "pretrain-classifier", *options]


def resume_files(folder: Path, output: str) -> list[Path]:
    return sorted((folder / output / "resume").glob("step_*.resume"))


def same_bytes(a: Path, b: Path) -> bool:
    return all(
        (a / name).read_bytes() == (b / name).read_bytes()
        for name in ("classifier.safetensors", "metrics.csv")
    )


def run(folder: Path, output: str) -> str:
    done = call(training(output), folder)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def undisturbed(data: Path) -> Path:
    run(data, "undisturbed")
    assert not (data / "undisturbed" / "resume").exists()
    return data / "undisturbed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_stopped_training_resumes(data: Path, undisturbed: Path, number: signal.Signals) -> None:
    output = f"stopped_{number.name}"
    process = start(training(output), data)
    wait_for(lambda: resume_files(data, output), process)
    process.send_signal(number)
    text = process.communicate()[0]
    assert process.returncode == 75, text
    assert f"stopped by {number.name} after step" in text
    assert "Traceback" not in text
    assert not (data / output / "classifier.safetensors").exists()
    assert 1 <= len(resume_files(data, output)) <= 2
    text = run(data, output)
    assert "resumes after step" in text
    assert "without reporting" not in text
    assert same_bytes(data / output, undisturbed)
    assert not (data / output / "resume").exists()


def test_a_killed_training_resumes_from_the_newest_readable_file(data: Path, undisturbed: Path) -> None:
    process = start(training("killed"), data, SLURMD_NODENAME="gpu7")
    wait_for(lambda: len(resume_files(data, "killed")) == 2, process)
    process.kill()
    process.communicate()
    newest = resume_files(data, "killed")[-1]
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    text = run(data, "killed")
    assert f"{newest.relative_to(data)}: not used, it cannot be read" in text
    lost = re.search(
        r"\[pretrain_classifier, task 0, seed 0\] the previous attempt on gpu7 ended without reporting \(node lost "
        r"or job killed\) after step (\d+)\n.*\] resumes after step (\d+)\n",
        text,
    )
    assert lost is not None, text
    assert int(lost[1]) >= int(lost[2]) > 0
    assert same_bytes(data / "killed", undisturbed)


def test_files_of_other_settings_or_inputs_are_not_used(data: Path, undisturbed: Path) -> None:
    process = start(training("changed"), data)
    wait_for(lambda: resume_files(data, "changed"), process)
    process.kill()
    process.communicate()
    settings = merged(LONGER, {"pretrain_classifier": {"batch_size": 16}})
    (data / "run.yaml").write_text(yaml.safe_dump(settings))
    try:
        text = run(data, "changed")
    finally:
        (data / "run.yaml").write_text(yaml.safe_dump(LONGER))
    assert "not used, it belongs to other settings" in text
    assert "resumes" not in text
    assert not same_bytes(data / "changed", undisturbed)


def test_a_log_pipe_that_closes_first(data: Path, undisturbed: Path) -> None:
    """A signal to the whole process group may end the reader of the messages first."""
    process = start(training("pipe"), data)
    wait_for(lambda: resume_files(data, "pipe"), process)
    assert process.stdout is not None
    process.stdout.close()
    process.terminate()
    assert process.wait() == 75
    run(data, "pipe")
    assert same_bytes(data / "pipe", undisturbed)


TRAINS = {"pretrain-classifier", "pretrain-gan", "train", "train-gan"}


def trainings(clone: Path) -> list[psutil.Process]:
    """The processes of a clone that train."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        if process.info["cwd"] == str(clone) and command[1:3] == ["-m", "genifer"] and TRAINS & set(command):
            found.append(process)
    return found


class Killer:
    """Sends up to four signals to each training: most between steps, some while it starts."""

    def __init__(self, clone: Path, moments: random.Random, signals: list[signal.Signals]) -> None:
        self.clone = clone
        self.moments = moments
        self.signals = signals
        self.left: dict[str, int] = {}
        self.plans: dict[int, tuple[bool, float]] = {}
        self.reached: dict[int, float] = {}
        self.before: dict[int, set[Path]] = {}

    def look(self) -> None:
        for process in trainings(self.clone):
            pid, command = process.pid, process.info["cmdline"]
            output = command[command.index("--output") + 1]
            if pid not in self.plans:
                self.plans[pid] = (self.moments.random() < 0.8, self.moments.uniform(0, 0.4))
                self.left.setdefault(output, 4)
                self.before[pid] = set(resume_files(self.clone, output))
            between_steps, seconds = self.plans[pid]
            if between_steps and set(resume_files(self.clone, output)) <= self.before[pid]:
                continue
            now = time.monotonic()
            if now - self.reached.setdefault(pid, now) >= seconds and self.left[output] and self.signals:
                process.send_signal(self.signals.pop())
                self.left[output] -= 1
                self.reached[pid] = now + 1000


def results(clone: Path) -> dict[str, bytes]:
    folder = clone / "results" / "quickstart"
    names = [*folder.rglob("*.safetensors"), *folder.rglob("metrics.csv"), folder / "accuracy.csv"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


@pytest.mark.slow
def test_a_run_whose_trainings_are_killed_again_and_again(tmp_path: Path) -> None:
    """Killed 20 times by SIGKILL and 10 times by SIGTERM, at random moments after the start."""
    seed = random.randrange(10**6)
    print(f"seed of the moments: {seed}")  # noqa: T201
    moments = random.Random(seed)
    target = "results/quickstart/accuracy.csv"  # it needs every training
    command = ["snakemake", "--configfile", "run.yaml", "--cores", "1", "--retries", "40", target]
    clones = []
    for name in ("undisturbed", "disturbed"):
        clone = make_clone(tmp_path / name)
        (clone / "run.yaml").write_text(yaml.safe_dump(LONGER))
        clones.append(clone)
    done = call(command, clones[0])
    assert done.returncode == 0, done.stdout + done.stderr

    signals = [signal.SIGKILL] * 20 + [signal.SIGTERM] * 10
    moments.shuffle(signals)
    with (tmp_path / "log").open("w") as log:
        snakemake = subprocess.Popen(command, cwd=clones[1], env=cold_environment(), stdout=log, stderr=log)
        killer = Killer(clones[1], moments, signals)
        while snakemake.poll() is None:
            killer.look()
            time.sleep(0.02)
    text = (tmp_path / "log").read_text()
    assert snakemake.returncode == 0, text
    assert not signals
    assert "resumes after step" in text
    assert results(clones[0]) == results(clones[1])
