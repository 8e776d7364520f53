"""Each training has a GPU that no other has, or shares it with as many as the settings allow."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from support.commands import ROOT
from support.pretended_gpus import list_gpus, pretended_gpus

from genifer.config import RuntimeSettings
from genifer.errors import GeniferError
from genifer.runtime import gpu_lease
from genifer.runtime.gpu_lease import Lease, leased_gpus, take_lease
from genifer.runtime.gpus import VISIBLE, Gpu
from genifer.runtime.processes import RENDEZVOUS

A, B = Gpu("GPU-a", "0", "Pretended"), Gpu("GPU-b", "1", "Pretended")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(gpu_lease, "FOLDER", tmp_path / "leases")
    return tmp_path / "leases"


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gpu]]:
    monkeypatch.setattr(gpu_lease, "FOLDER", tmp_path / "leases")
    with pretended_gpus(2, tmp_path, monkeypatch) as gpus:
        yield gpus


def taken(lease: Lease | None) -> Gpu | None:
    return None if lease is None else lease.gpus[0]


def in_a_process(code: str) -> subprocess.Popen[str]:
    """Run code in a process that knows this module's names, and the same folder of leases."""
    known = f"""
import os, signal, subprocess, sys, time
from pathlib import Path
from genifer.runtime import gpu_lease
from genifer.runtime.gpu_lease import take_lease
from genifer.runtime.gpus import Gpu
gpu_lease.FOLDER = Path({str(gpu_lease.FOLDER)!r})
A, B = {A!r}, {B!r}
"""
    return subprocess.Popen(
        [sys.executable, "-c", known + code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.usefixtures("folder")
def test_the_gpu_with_the_fewest_trainings_is_next() -> None:
    leases = [take_lease([A, B], 2) for _ in range(5)]
    assert [taken(lease) for lease in leases] == [A, B, A, B, None]
    assert leases[1] is not None
    leases[1].release()
    assert taken(take_lease([A, B], 2)) == B


@pytest.mark.usefixtures("folder")
def test_several_gpus_are_taken_all_or_none() -> None:
    third = Gpu("GPU-c", "2", "Pretended")
    one = take_lease([B], 1)
    both = take_lease([A, B, third], 1, 2)
    assert both is not None
    assert both.gpus == (A, third)
    assert one is not None
    one.release()
    assert take_lease([A, B, third], 1, 2) is None
    assert taken(take_lease([A, B, third], 1)) == B  # nothing of the refused lease is left
    both.release()
    assert take_lease([A, third], 1, 2) is not None


@pytest.mark.usefixtures("folder")
def test_a_lease_lasts_until_all_processes_of_a_training_have_ended() -> None:
    """Also when the one that took it was killed."""
    process = in_a_process("""
lease = take_lease([A], 1)
other = subprocess.Popen(["sleep", "60"], pass_fds=lease.descriptors)
print(other.pid, flush=True)
time.sleep(60)
""")
    other = int(line_of(process))
    process.kill()
    process.wait()
    assert take_lease([A], 1) is None
    os.kill(other, signal.SIGKILL)
    limit = time.monotonic() + 30
    while take_lease([A], 1) is None:
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_training_in_several_processes_sees_its_gpus(
    gpus: list[Gpu], monkeypatch: pytest.MonkeyPatch
) -> None:
    with leased_gpus(RuntimeSettings(), 2):
        assert os.environ[VISIBLE] == f"{gpus[0].uuid},{gpus[1].uuid}"
        monkeypatch.setenv(RENDEZVOUS, "/somewhere")
        with leased_gpus(RuntimeSettings(), 2):  # in a process that it has started
            assert os.environ[VISIBLE] == f"{gpus[0].uuid},{gpus[1].uuid}"
    monkeypatch.delenv(RENDEZVOUS)
    with (
        pytest.raises(GeniferError, match=r"gpus_per_job: 3, but this training can use only 2: .*Lower it"),
        leased_gpus(RuntimeSettings(), 3),
    ):
        pass


@pytest.mark.usefixtures("folder")
def test_runs_with_other_numbers_and_other_limits_agree() -> None:
    """The name counts, not the number; and who wants a GPU alone has it alone."""
    assert taken(take_lease([A], 1)) == A
    assert take_lease([Gpu(A.uuid, "7", "Pretended")], 3) is None
    assert taken(take_lease([B], 3)) == taken(take_lease([B], 3)) == B
    assert take_lease([A, B], 1) is None
    assert taken(take_lease([A, B], 2)) is None
    assert taken(take_lease([A, B], 3)) == B


@pytest.mark.usefixtures("folder")
def test_a_killed_process_leaves_nothing_behind() -> None:
    """Neither a process that it has forked nor a program that it has started keeps the lease."""
    process = in_a_process("""
take_lease([A], 1)
program = subprocess.Popen(["sleep", "60"])
if os.fork():
    time.sleep(60)
print(os.getpid(), program.pid, flush=True)
time.sleep(60)
""")
    left = [int(pid) for pid in line_of(process).split()]
    try:
        assert take_lease([A], 1) is None
        process.kill()
        process.wait()
        for pid in left:
            os.kill(pid, 0)
        assert taken(take_lease([A], 1)) == A
    finally:
        for pid in left:
            os.kill(pid, signal.SIGKILL)


def test_one_process_chooses_at_a_time(folder: Path) -> None:
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    process = in_a_process("print('chooses', flush=True)\nprint(take_lease([A], 1).gpus[0].uuid, flush=True)")
    assert line_of(process) == "chooses"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    os.close(lock)
    assert line_of(process) == A.uuid
    process.wait()


@pytest.mark.skipif(os.getuid() != 0, reason="takes leases as several users")
def test_users_share_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes a folder, with whatever umask, others can use it."""
    take = "print(take_lease([A, B], 1).gpus[0].uuid, flush=True)\ntime.sleep(60)"
    with tempfile.TemporaryDirectory() as above, contextlib.ExitStack() as processes:
        Path(above).chmod(0o777)
        monkeypatch.setattr(gpu_lease, "FOLDER", Path(above) / "leases")
        for uid, gpu in ((65533, A), (65532, B)):
            process = in_a_process(f"os.setuid({uid})\nos.umask(0o077)\n{take}")
            processes.callback(process.wait)
            processes.callback(process.kill)
            assert line_of(process) == gpu.uuid
        assert take_lease([A, B], 1) is None
        processes.close()
        process = in_a_process(f"os.setuid(65533)\n{take.replace('[A, B]', '[B]')}")
        processes.callback(process.wait)
        processes.callback(process.kill)
        assert line_of(process) == B.uuid
        assert (gpu_lease.FOLDER.stat().st_mode & 0o7777) == 0o1777


def test_folders_that_are_removed_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of a folder that is not there any more would hold nothing."""
    flock, removed = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if len(removed) < 2 and not any(folder.glob("*/*")):
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            path.rename(folder.with_name(f"removed_{len(removed)}"))
            removed.append(path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert taken(take_lease([A], 1)) == A
    assert len(removed) == 2
    assert take_lease([A], 1) is None


def test_a_folder_that_cannot_be_used(folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(GeniferError, match=f"{folder}: a GPU cannot be reserved there .*chmod 1777"):
        take_lease([A], 1)


def test_the_process_sees_its_gpu_alone(gpus: list[Gpu], monkeypatch: pytest.MonkeyPatch) -> None:
    with leased_gpus(RuntimeSettings()):
        assert os.environ[VISIBLE] == gpus[0].uuid
        assert taken(take_lease(gpus, 1)) == gpus[1]
        assert take_lease(gpus, 1) is None
    assert VISIBLE not in os.environ
    monkeypatch.setenv(VISIBLE, "0")
    with leased_gpus(RuntimeSettings(jobs_per_gpu=2)):
        assert os.environ[VISIBLE] == gpus[0].uuid
    assert os.environ[VISIBLE] == "0"


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(("device", "setting"), [("cpu", "0"), ("auto", ""), ("cuda", "")])
def test_without_a_gpu_nothing_happens(
    device: Literal["cpu", "auto", "cuda"], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, setting)
    with leased_gpus(RuntimeSettings(device=device)):
        assert os.environ[VISIBLE] == setting
    assert not gpu_lease.FOLDER.exists()


@pytest.mark.usefixtures("gpus")
def test_no_gpu_that_works(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    list_gpus(tmp_path, [], "GPU is lost.", 15)
    message = "runtime.device: cuda, but no GPU works here. nvidia-smi: GPU is lost"
    with pytest.raises(GeniferError, match=message), leased_gpus(RuntimeSettings(device="cuda")):
        pass
    with caplog.at_level(logging.WARNING), leased_gpus(RuntimeSettings(device="auto")):
        assert VISIBLE not in os.environ
    assert "GPU is lost" in caplog.text


def test_a_gpu_that_falls_out_during_a_training(gpus: list[Gpu], tmp_path: Path) -> None:
    def train(fails: str) -> None:
        with leased_gpus(RuntimeSettings()):
            if "CUDA" in fails:
                list_gpus(tmp_path, gpus[1:], "GPU 0000:3B:00.0 is lost.", 15)
            raise RuntimeError(fails)

    with pytest.raises(RuntimeError, match="a bug"):
        train("a bug")
    with pytest.raises(GeniferError) as caught:
        train("CUDA error: unspecified launch failure\nmore")
    message = str(caught.value)
    assert message.startswith(f"{gpus[0]} has failed")
    assert "CUDA error: unspecified launch failure; nvidia-smi: GPU 0000:3B:00.0 is lost." in message
    with leased_gpus(RuntimeSettings()):
        assert os.environ[VISIBLE] == gpus[1].uuid


def fight(*options: str) -> dict[str, float]:
    command = [sys.executable, "tests/support/lease_fight.py", *options]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def nobody_is_hurt(report: dict[str, float]) -> None:
    assert report["more than allowed"] == 0
    assert report["free at the end"] == report["slots"]
    assert report["ended by themselves"] == 0
    assert report["killed on a GPU"] > 0
    assert report["leases"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("limits", [["1"], ["1", "3"]])
def test_processes_that_fight_and_are_killed(limits: list[str]) -> None:
    report = fight("--processes", "12", "--gpus", "3", "--seconds", "3", "--limits", *limits)
    nobody_is_hurt(report)
    assert report["most on one GPU"] <= int(limits[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_two_hundred_processes() -> None:
    nobody_is_hurt(fight("--processes", "200", "--gpus", "4", "--seconds", "30"))
