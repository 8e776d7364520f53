"""`genifer watch` on runs in every state, from files as their jobs and the workflow write them."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.commands import TINY, merged
from support.in_process import genifer

from genifer.layout import Layout
from genifer.monitor.watch.plan import end_plan, read_plan, write_plan
from genifer.monitor.watch.progress import read_progress
from genifer.monitor.watch.view import gpus, view
from genifer.run_file import parse_settings

NOW = datetime.now(UTC)
NO_PROCESS = 2**22 + 1
"""Above the largest process id that Linux gives."""


STEPS = {
    "pretrain_classifier": {"steps": 100},
    "pretrain_gan": {"steps": 200},
    "genifer": {"steps": 40},
    "train_gan": {"steps": 80},
}


def layout_of(folder: Path, run: str = "birds", **changes: Any) -> Layout:
    """A tiny run of one method; its trainings are named by `trainings_of`."""
    settings = parse_settings(merged(TINY, {"run": run, "methods": ["genifer"], **STEPS, **changes}), "test")
    return Layout(settings, folder)


def begin(layout: Layout, side_by_side: int = 1) -> list[str]:
    """Let a run begin; returns the folders of its trainings, of 100, 200, 40, 80 and 40 steps per seed."""
    write_plan(layout, side_by_side)
    return [training.folder for training in read_plan(Path(layout.results)).trainings]


def tell(folder: str, state: str = "running", **content: Any) -> None:
    """Write the status of a training, as of its last few seconds."""
    status = {"state": state, "host": socket.gethostname(), "pid": os.getpid()}
    status |= {"updated": datetime.now(UTC).isoformat(), "message": None, "scalars": {}}
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "status.json").write_text(json.dumps(status | content))


def finish(folder: str, steps: int, seconds: float, ago: float = 0) -> None:
    tell(folder, "done", steps=steps, done=steps, seconds=seconds)
    made = Path(folder) / ("gan.safetensors" if folder.endswith("gan") else "classifier.safetensors")
    made.write_text("weights")
    os.utime(made, (made.stat().st_atime, made.stat().st_mtime - ago))


def once(capsys: pytest.CaptureFixture[str], results: Path, *runs: str) -> str:
    genifer("watch", "--once", "--results", results, *runs)
    return capsys.readouterr().out


def test_one_plain_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two trainings done, one under way: what is left is 60 steps, 40 steps, and a classifier's 40."""
    folders = begin(layout_of(tmp_path))
    finish(folders[0], 100, 50)
    finish(folders[1], 200, 400)
    tell(folders[2], steps=40, done=20, speed=4.0, scalars={"loss": 0.5})
    assert once(capsys, tmp_path) == (
        "birds: running, 2 of 5 trainings done, running train_genifer task 1 seed 0 step 20/40 4 steps/s "
        # 20 steps at 4 a second; 80 of the next GAN at the first one's 2 seconds; 40 at 4 a second.
        "0:00:05 left, run 0:02:55 left\n"
    )


def test_nothing_is_known_of_speeds_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = begin(layout_of(tmp_path))
    tell(folders[0], steps=100, done=0, speed=None)
    assert once(capsys, tmp_path).endswith("step 0/100 ? left, run ? left\n")


def test_a_long_preparation_shows_its_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = begin(layout_of(tmp_path))
    tell(folders[0], steps=100, done=0, speed=None, preparation=[30, 400])
    assert "running pretrain_classifier task 0 seed 0 preparation 30/400 ?" in once(capsys, tmp_path)


def test_what_runs_side_by_side_takes_less_time_but_no_less_than_a_chain(tmp_path: Path) -> None:
    for side_by_side, expected in ((1, 2 * 75), (2, 75), (8, 75)):
        layout = layout_of(tmp_path, seeds=[0, 1])
        for folder in begin(layout, side_by_side):
            if folder.endswith("pretrain_classifier"):
                finish(folder, 100, 100)
            elif folder.endswith("pretrain_gan"):
                finish(folder, 200, 50)
        # 40 steps at 1 s (the classifier's pace), 80 at 0.25 s, 40 at 1 s: 100 s a seed, of which all wait.
        left = read_progress(read_plan(Path(layout.results)), NOW).seconds_left
        assert left == pytest.approx(expected * 100 / 75)


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({"pid": NO_PROCESS}, "interrupted train_genifer task 1 seed 0 resumes after step 12"),
        ({"updated": (NOW - timedelta(minutes=11)).isoformat()}, "interrupted train_genifer"),
        ({"host": "elsewhere", "pid": NO_PROCESS}, "running train_genifer"),
        ({"host": "elsewhere", "updated": (NOW - timedelta(minutes=6)).isoformat()}, "interrupted train_gen"),
        ({"state": "interrupted"}, "interrupted train_genifer task 1 seed 0 resumes after step 12"),
        ({"state": "failed", "message": "loss is nan"}, "failed train_genifer task 1 seed 0: loss is nan"),
        ({"updated": "yesterday"}, "interrupted"),
    ],
    ids=["killed", "silent", "another machine", "silent there", "told to stop", "failed", "odd"],
)
def test_trainings_that_do_not_run(
    status: dict[str, Any], shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = begin(layout_of(tmp_path))
    finish(folders[0], 100, 50)
    finish(folders[1], 200, 400)
    tell(folders[2], **{"steps": 40, "done": 14, "speed": 2.0, **status})
    resume = Path(folders[2]) / "resume"
    resume.mkdir()
    for step in (6, 12):
        (resume / f"step_{step:010}.resume").touch()
    assert shown in once(capsys, tmp_path)


def test_a_node_of_slurm_is_known_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = begin(layout_of(tmp_path))
    tell(folders[0], steps=100, done=14, host="gpu7", pid=NO_PROCESS)
    assert "running pretrain_classifier" in once(capsys, tmp_path)
    monkeypatch.setenv("SLURMD_NODENAME", "gpu7")
    assert "interrupted pretrain_classifier" in once(capsys, tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"state": "run', "[1]", "null"])
def test_half_written_files_are_skipped(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = begin(layout_of(tmp_path))
    Path(folders[0]).mkdir(parents=True)
    (Path(folders[0]) / "status.json").write_text(content)
    assert "0 of 5 trainings done" in once(capsys, tmp_path)


def test_what_follows_from_a_repeated_training_is_pending(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything is there from before; the first GAN was trained again since the run began."""
    layout = layout_of(tmp_path)
    results = Path(layout.results)
    for job in layout.trainings:
        finish(job.folder, 10, 1, ago=1000)
    folders = begin(layout)
    assert "5 of 5 trainings done" in once(capsys, tmp_path)
    finish(folders[1], 200, 100, ago=-5)
    assert "2 of 5 trainings done" in once(capsys, tmp_path)
    end_plan(results, succeeded=True)
    assert "birds: done, 5 of 5 trainings done" in once(capsys, tmp_path)


def test_a_variant_takes_the_pace_of_the_same_job(tmp_path: Path) -> None:
    """Its own pace counts first, then that of the job in other groups, then that of all classifiers."""
    slow = {"method": "genifer", "gan": {"r1_gamma": 1.0}}
    layout = layout_of(tmp_path, methods={"genifer": {}, "slow": slow})
    begin(layout)
    for job in layout.trainings:
        if job.name == "pretrain_classifier":
            finish(job.folder, 100, 1000)
        elif job.name == "pretrain_gan":
            finish(job.folder, 200, 100)
        elif (job.name, job.task, job.group) == ("train_genifer", 1, "genifer"):
            finish(job.folder, 40, 80)
    progress = read_progress(read_plan(Path(layout.results)), NOW)
    left = {(one.training.name, one.training.task): one.seconds_left for one in progress.trainings}
    assert left["train_genifer", 2] == 80
    assert left["train_genifer (genifer+gan.r1_gamma=1.0)", 1] == 80
    assert left["train_gan (genifer+gan.r1_gamma=1.0)", 1] == 40


def test_a_training_without_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A method that only computes its memory of the first task takes no time that steps tell."""
    layout = layout_of(tmp_path)
    begin(layout)
    path = Path(layout.results) / "plan.json"
    plan = json.loads(path.read_text())
    del plan["trainings"][2:]
    plan["trainings"][1]["steps"] = 0
    path.write_text(json.dumps(plan))
    folders = [training["folder"] for training in plan["trainings"]]
    tell(folders[0], steps=100, done=50, speed=10.0)
    tell(folders[1], steps=0, done=0, speed=None)
    text = once(capsys, tmp_path)
    assert "running pretrain_gan task 0 seed 0 computes its memory 0:00:00 left, run 0:00:05 left" in text
    finish(folders[1], 0, 30)
    assert "run 0:00:05 left" in once(capsys, tmp_path)
    console = Console(width=120, record=True, force_terminal=True)
    console.print(view([read_progress(read_plan(Path(layout.results)), NOW)], [], console))
    assert "memory" in console.export_text()


def test_several_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those under way, or the ones named, or else the newest."""
    for name in ("ants", "birds", "cats"):
        begin(layout_of(tmp_path, name))
    end_plan(tmp_path / "ants", succeeded=False)
    assert [line.split(":")[0] for line in once(capsys, tmp_path).splitlines()] == ["birds", "cats"]
    assert once(capsys, tmp_path, "ants", "cats").startswith("ants: failed")
    for name in ("cats", "birds"):
        end_plan(tmp_path / name, succeeded=True)
    assert once(capsys, tmp_path).startswith("birds: done")


def test_runs_that_do_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert genifer("watch", "--once", "--results", tmp_path) == 1
    assert "no run has been started under" in capsys.readouterr().err
    begin(layout_of(tmp_path))
    assert genifer("watch", "--once", "--results", tmp_path, "bird") == 1
    assert "'bird': no run of this name has started" in (text := capsys.readouterr().err)
    assert "there are: birds" in text
    (tmp_path / "birds" / "plan.json").write_text("{")
    assert genifer("watch", "--once", "--results", tmp_path, "birds") == 1
    assert "plan.json: cannot be read" in capsys.readouterr().err


def test_it_ends_with_its_runs(tmp_path: Path) -> None:
    """Exit code 0 if all is well, 1 if a run failed or Snakemake died without reporting."""
    layout = layout_of(tmp_path)
    begin(layout)
    end_plan(tmp_path / "birds", succeeded=True)
    assert genifer("watch", "--results", tmp_path, "birds") == 0
    end_plan(tmp_path / "birds", succeeded=False)
    assert genifer("watch", "--results", tmp_path, "birds") == 1
    begin(layout)
    path = tmp_path / "birds" / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": NO_PROCESS}))
    assert genifer("watch", "--results", tmp_path, "birds") == 1


@pytest.mark.parametrize(("width", "height"), [(120, 35), (100, 24), (200, 60)])
def test_a_long_run_fits_the_terminal(width: int, height: int, tmp_path: Path) -> None:
    """Of 105 trainings those that run or have failed are shown, the others folded."""
    layout = layout_of(
        tmp_path,
        scenario={"tasks": [4, 2, 1, 1, 1, 1]},
        methods=["genifer", "finetune", "joint"],
        seeds=[0, 1, 2, 3, 4],
    )
    folders = begin(layout)
    for folder in folders[:30]:
        finish(folder, 3, 5)
    tell(folders[30], steps=3, done=1, speed=0.5, scalars={"loss": 0.25, "cross_entropy": 1.0})
    tell(folders[31], "failed", message="loss is nan", steps=3)
    console = Console(width=width, height=height, record=True, force_terminal=True)
    progress = read_progress(read_plan(Path(layout.results)), NOW)
    console.print(view([progress], ["GPU 0  A card  97 % busy, 10 of 80 MiB"], console))
    lines = console.export_text().rstrip().splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for shown in ("job", "running", "loss 0.25", "loss is nan", " pending", " done", "GPU 0  A card"):
        assert shown in text


def test_gpus_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho '0, NVIDIA H100, 97, 1234, 81559'\necho '1, NVIDIA H100, 0, 4, 81559'\n"
    )
    program.chmod(0o755)
    assert gpus() == [
        "GPU 0  NVIDIA H100  97 % busy, 1234 of 81559 MiB",
        "GPU 1  NVIDIA H100  0 % busy, 4 of 81559 MiB",
    ]
    program.write_text("#!/bin/sh\necho 'No devices were found' >&2\nexit 6\n")
    assert gpus() == []
