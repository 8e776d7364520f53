"""`genifer watch` on runs in every state, from files as their stages and the workflow write them."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import TINY, merged
from in_process import genifer
from rich.console import Console

from genifer.config import RunSettings, parse_settings
from genifer.watch.plan import end_plan, planned_trainings, read_plan, write_plan
from genifer.watch.progress import look
from genifer.watch.view import view

NOW = datetime.now(UTC)
NO_PROCESS = 2**22 + 1
"""Above the largest process id that Linux gives."""


def settings_of(**changes: Any) -> RunSettings:
    return parse_settings(merged(TINY, changes), "test")


def folders(
    results: Path, seeds: list[int], tasks: int, methods: tuple[str, ...] = ("genifer",)
) -> list[str]:
    found = []
    for seed in seeds:
        of_seed = results / "stages" / f"seed_{seed}"
        found += [of_seed / "first_task" / stage for stage in ("pretrain_classifier", "pretrain_gan")]
        for task in range(1, tasks):
            found += [of_seed / method / f"task_{task}" / f"train_{method}" for method in methods]
            if task < tasks - 1:
                found.append(of_seed / "genifer" / f"task_{task}" / "train_gan")
    return [str(folder) for folder in found]


def begin(results: Path, seeds: list[int] | None = None, side_by_side: int = 1) -> list[str]:
    """A run that has just begun: six trainings a seed, of 100, 200, 40, 80 and 40 steps."""
    run = settings_of(
        pretrain_classifier={"steps": 100},
        pretrain_gan={"steps": 200},
        genifer={"steps": 40},
        train_gan={"steps": 80},
    )
    of_stages = folders(results, seeds or [0], 3)
    there = results / "accuracy.csv"
    write_plan(
        results, planned_trainings(run, of_stages), {"tables and plots": [str(there), "gone"]}, side_by_side
    )
    return of_stages


def tell(folder: str, state: str = "running", **content: Any) -> None:
    """A stage's status, as of its last few seconds."""
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
    stages = begin(tmp_path / "birds")
    finish(stages[0], 100, 50)
    finish(stages[1], 200, 400)
    tell(stages[2], steps=40, done=20, speed=4.0, scalars={"loss": 0.5})
    assert once(capsys, tmp_path) == (
        "birds: running, 2 of 5 trainings done, running train_genifer task 1 seed 0 step 20/40 4 steps/s "
        # 20 steps at 4 a second; 80 of the next GAN at the first one's 2 seconds; 40 at 4 a second.
        "0:00:05 left, run 0:02:55 left\n"
    )


def test_nothing_is_known_of_speeds_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = begin(tmp_path / "birds")
    tell(stages[0], steps=100, done=0, speed=None)
    assert once(capsys, tmp_path).endswith("step 0/100 ? left, run ? left\n")


def test_what_runs_side_by_side_takes_less_time_but_no_less_than_a_chain(tmp_path: Path) -> None:
    for side_by_side, expected in ((1, 2 * 75), (2, 75), (8, 75)):
        stages = begin(tmp_path / "birds", [0, 1], side_by_side)
        for folder in stages:
            if folder.endswith("pretrain_classifier"):
                finish(folder, 100, 100)
            elif folder.endswith("pretrain_gan"):
                finish(folder, 200, 50)
        # 40 steps at 1 s (the classifier's pace), 80 at 0.25 s, 40 at 1 s: 100 s a seed, of which all wait.
        left = look(read_plan(tmp_path / "birds"), NOW).seconds_left
        assert left == pytest.approx(expected * 100 / 75)


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({"pid": NO_PROCESS}, "interrupted train_genifer task 1 seed 0 goes on from step 12"),
        ({"updated": (NOW - timedelta(minutes=11)).isoformat()}, "interrupted train_genifer"),
        ({"host": "elsewhere", "pid": NO_PROCESS}, "running train_genifer"),
        ({"host": "elsewhere", "updated": (NOW - timedelta(minutes=6)).isoformat()}, "interrupted train_gen"),
        ({"state": "interrupted"}, "interrupted train_genifer task 1 seed 0 goes on from step 12"),
        ({"state": "failed", "message": "loss is nan"}, "failed train_genifer task 1 seed 0: loss is nan"),
        ({"updated": "yesterday"}, "interrupted"),
    ],
    ids=["killed", "silent", "another machine", "silent there", "told to stop", "failed", "odd"],
)
def test_stages_that_do_not_run(
    status: dict[str, Any], shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = begin(tmp_path / "birds")
    finish(stages[0], 100, 50)
    finish(stages[1], 200, 400)
    tell(stages[2], **{"steps": 40, "done": 14, "speed": 2.0, **status})
    resume = Path(stages[2]) / "resume"
    resume.mkdir()
    for step in (6, 12):
        (resume / f"step_{step:010}.resume").touch()
    assert shown in once(capsys, tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"state": "run', "[1]", "null"])
def test_half_written_files_are_skipped(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = begin(tmp_path / "birds")
    Path(stages[0]).mkdir(parents=True)
    (Path(stages[0]) / "status.json").write_text(content)
    assert "0 of 5 trainings done" in once(capsys, tmp_path)


def test_what_follows_from_a_stage_made_again_is_to_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything is there from before; the first GAN has been made again since the run began."""
    results = tmp_path / "birds"
    for folder in folders(results, [0], 3):
        finish(folder, 10, 1, ago=1000)
    stages = begin(results)
    assert "5 of 5 trainings done" in once(capsys, tmp_path)
    finish(stages[1], 200, 100, ago=-5)
    assert "2 of 5 trainings done" in once(capsys, tmp_path)
    end_plan(results, succeeded=True)
    assert "birds: done, 5 of 5 trainings done" in once(capsys, tmp_path)


def test_several_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those under way, or the ones named, or else the newest."""
    for name in ("ants", "birds", "cats"):
        begin(tmp_path / name)
    end_plan(tmp_path / "ants", succeeded=False)
    assert [line.split(":")[0] for line in once(capsys, tmp_path).splitlines()] == ["birds", "cats"]
    assert once(capsys, tmp_path, "ants", "cats").startswith("ants: failed")
    for name in ("cats", "birds"):
        end_plan(tmp_path / name, succeeded=True)
    assert once(capsys, tmp_path).startswith("birds: done")


def test_runs_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert genifer("watch", "--once", "--results", tmp_path) == 1
    assert "no run with a plan under" in capsys.readouterr().err
    begin(tmp_path / "birds")
    assert genifer("watch", "--once", "--results", tmp_path, "bird") == 1
    assert "'bird' is no run with a plan" in (text := capsys.readouterr().err)
    assert "there are: birds" in text
    (tmp_path / "birds" / "plan.json").write_text('{"run": "birds"}')
    assert genifer("watch", "--once", "--results", tmp_path, "birds") == 1
    assert "cannot be read as the plan of a run" in capsys.readouterr().err


def test_it_ends_with_its_runs(tmp_path: Path) -> None:
    """Exit code 0 where all is well, 1 where a run failed or Snakemake has gone."""
    begin(tmp_path / "birds")
    end_plan(tmp_path / "birds", succeeded=True)
    assert genifer("watch", "--results", tmp_path, "birds") == 0
    end_plan(tmp_path / "birds", succeeded=False)
    assert genifer("watch", "--results", tmp_path, "birds") == 1
    begin(tmp_path / "birds")
    path = tmp_path / "birds" / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": NO_PROCESS}))
    assert genifer("watch", "--results", tmp_path, "birds") == 1


@pytest.mark.parametrize(("width", "height"), [(120, 35), (100, 24), (200, 60)])
def test_a_long_run_fits_the_terminal(width: int, height: int, tmp_path: Path) -> None:
    """Of 90 trainings those that run or have failed are shown, the others folded."""
    results = tmp_path / "paper"
    of_stages = folders(results, [0, 1, 2, 3, 4], 6, ("genifer", "finetune", "joint"))
    write_plan(
        results, planned_trainings(settings_of(scenario={"tasks": [4, 2, 1, 1, 1, 1]}), of_stages), {}, 1
    )
    for folder in of_stages[:30]:
        finish(folder, 3, 5)
    tell(of_stages[30], steps=3, done=1, speed=0.5, scalars={"loss": 0.25, "cross_entropy": 1.0})
    tell(of_stages[31], "failed", message="loss is nan", steps=3)
    console = Console(width=width, height=height, record=True, force_terminal=True)
    console.print(view([look(read_plan(results), NOW)], ["GPU 0  A card  97 % busy, 10 of 80 MiB"], console))
    lines = console.export_text().rstrip().splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for shown in ("running", "loss 0.25", "loss is nan", " to come", " done", "GPU 0  A card"):
        assert shown in text


def test_gpus_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genifer.watch.view import gpus

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


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "run.yaml").write_text(yaml.safe_dump(merged(TINY, {"runtime": {"device": "cpu"}})))
    assert genifer("prepare-data", "--config", folder / "run.yaml", "--output", folder / "data") == 0
    return folder


def train(prepared: Path, output: Path, *options: str) -> int:
    data = prepared / "data" / "task_0_train.safetensors"
    command = ["pretrain-classifier", "--config", prepared / "run.yaml", "--trackers", "none"]
    return genifer(*command, "--data", data, "--output", output, *options)


def status_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "status.json").read_text())


def test_a_training_says_where_it_stood(prepared: Path, tmp_path: Path) -> None:
    assert train(prepared, tmp_path) == 0
    status = status_of(tmp_path)
    assert (status["stage"], status["seed"], status["task"]) == ("pretrain_classifier", 0, 0)
    assert (status["state"], status["steps"], status["done"]) == ("done", 20, 20)
    assert 0 < status["seconds"] < 60
    assert set(status["scalars"]) == {"loss", "accuracy"}
    assert (status["device"], status["precision"]) == ("cpu", "fp32")
    assert status["machine"]
    assert status["pid"] == os.getpid()


def test_an_interrupted_training_counts_on(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    from genifer.training.supervised import ImageTraining

    step, done = ImageTraining.step, []
    with monkeypatch.context() as patch:

        def stops(self: ImageTraining) -> Any:
            done.append(1)
            if len(done) == 8:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self)

        patch.setattr(ImageTraining, "step", stops)
        assert train(prepared, tmp_path) == 75
    status = status_of(tmp_path)
    assert (status["state"], status["done"]) == ("interrupted", 8)
    assert "stopped by SIGTERM" in status["message"]
    (tmp_path / "status.json").write_text(json.dumps(status | {"seconds": 1000.0}))
    assert train(prepared, tmp_path) == 0
    assert 1000 < status_of(tmp_path)["seconds"] < 1060
    # A training that begins anew counts from nothing.
    assert train(prepared, tmp_path) == 0
    assert status_of(tmp_path)["seconds"] < 60


def test_a_failed_training_says_why(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from genifer.training.supervised import ImageTraining

    monkeypatch.setattr(ImageTraining, "step", lambda _: {"loss": torch.tensor(float("nan"))})
    assert train(prepared, tmp_path) == 1
    status = status_of(tmp_path)
    assert status["state"] == "failed"
    assert "went wrong at step 1: loss is nan" in status["message"]


def test_a_status_that_cannot_be_written_stops_nothing(
    prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "status.json").mkdir(parents=True)
    (tmp_path / "status.json" / "in the way").touch()
    assert train(prepared, tmp_path) == 0
    assert (tmp_path / "classifier.safetensors").is_file()
    assert caplog.text.count("no status from here on") == 1
    assert not list(tmp_path.glob(".status*"))
