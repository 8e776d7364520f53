"""Trackers receive what their own readers find again, and cannot harm a training."""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from support.commands import TINY, merged
from support.in_process import genifer, run

from genifer.config import TRACKERS
from genifer.runtime.tracking import missing_packages
from genifer.training.gan import GanTraining

STEPS = 12
INSTALLED = tuple(name for name in TRACKERS if name not in missing_packages(TRACKERS))
needs_wandb = pytest.mark.skipif(
    "wandb" not in INSTALLED, reason="wandb is not installed (pip install wandb)"
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    settings = merged(TINY, {"pretrain_gan": {"steps": STEPS}, "runtime": {"device": "cpu"}})
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    config = ["--config", str(folder / "run.yaml")]
    assert genifer("prepare-data", *config, "--output", folder / "data") == 0
    options = [*config, "--runtime", "{trackers: []}", "--output", folder / "classifier"]
    assert genifer("pretrain-classifier", *options, folder / "data" / "task_0_train.safetensors") == 0
    assert genifer(*gan(folder, folder / "untracked")) == 0
    return folder


def gan(prepared: Path, output: Path, *trackers: str, **runtime: Any) -> list[str]:
    """The command that trains the GAN; JSON is YAML, too."""
    return [
        *["pretrain-gan", "--config", str(prepared / "run.yaml")],
        *["--runtime", json.dumps({"trackers": trackers} | runtime)],
        *["--classifier", str(prepared / "classifier" / "classifier.safetensors")],
        *["--output", str(output), str(prepared / "data" / "task_0_train.safetensors")],
    ]


@contextmanager
def plug_pulled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A training fails in its seventh step; its last resume file is that of the fourth."""
    step = GanTraining.step
    with monkeypatch.context() as patch:

        def stops(self: GanTraining, batch: Any, number: int) -> Any:
            if number == 4:
                patch.setattr("genifer.training.resume.Clock.due", lambda _: False)
            if number == 7:
                raise RuntimeError("pulled the plug")
            return step(self, batch, number)

        patch.setattr(GanTraining, "step", stops)
        yield


@pytest.fixture
def mlflow_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MLflow's default store is in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "quickstart")
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tmp_path


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0}).Reload()


def mlflow_run() -> Any:
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


def wandb_records(folder: Path) -> Iterator[Any]:
    """The records of all parts of a run, from files in the format of LevelDB's logs, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        content, position, parts = path.read_bytes(), 7, b""
        while position + 7 <= len(content):
            left = -position % 32768
            if 0 < left < 7:
                position += left
                continue
            length, kind = struct.unpack_from("<HB", content, position + 4)
            parts += content[position + 7 : position + 7 + length]
            position += 7 + length
            if kind in (1, 4):  # whole, or the last part
                yield Record.FromString(parts)
                parts = b""


def wandb_rows(folder: Path) -> list[dict[str, Any]]:
    """What was logged, row by row."""
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in wandb_records(folder)
        if record.HasField("history")
    ]


def rows(folder: Path, scalar: str) -> dict[int, float]:
    table = pd.read_csv(folder / "metrics.csv").set_index("step")[scalar].dropna()
    return dict(table)


def test_scalars_settings_and_sample_grids_reach_all(prepared: Path, mlflow_here: Path) -> None:
    output = mlflow_here / "gan"
    assert genifer(*gan(prepared, output, *INSTALLED)) == 0
    whole = (prepared / "untracked" / "gan.safetensors").read_bytes()
    assert (output / "gan.safetensors").read_bytes() == whole
    assert (output / "metrics.csv").read_text() == (prepared / "untracked" / "metrics.csv").read_text()
    expected = rows(output, "g_loss")
    assert len(expected) == STEPS

    tracked = events(output)
    assert {event.step: event.value for event in tracked.Scalars("g_loss")} == pytest.approx(
        expected, rel=1e-4
    )
    assert (
        "gan.r1_gamma | 0.5"
        in tracked.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    )
    assert tracked.Images("samples")[-1].step == STEPS
    # Four rows of the four classes, each with a white line between them.
    assert (tracked.Images("samples")[-1].height, tracked.Images("samples")[-1].width) == (
        4 * 9 - 1,
        4 * 9 - 1,
    )

    live = output / "dvclive"
    table = pd.read_csv(live / "plots" / "metrics" / "g_loss.tsv", sep="\t").set_index("step")["g_loss"]
    assert dict(table) == pytest.approx(expected, rel=1e-4)
    assert yaml.safe_load((live / "params.yaml").read_text())["gan.r1_gamma"] == "0.5"
    assert json.loads((live / "metrics.json").read_text())["step"] == STEPS
    with Image.open(live / "plots" / "images" / f"samples_{STEPS}.png") as image:
        assert np.asarray(image).std() > 5
    assert not list(mlflow_here.glob("dvc.yaml"))

    client, found = mlflow_run()
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "pretrain_gan, task 0, seed 0"
    assert found.data.params["gan.r1_gamma"] == "0.5"
    history = {point.step: point.value for point in client.get_metric_history(found.info.run_id, "g_loss")}
    assert history == pytest.approx(expected, rel=1e-4)
    assert f"samples/step_{STEPS}.png" in [
        artifact.path for artifact in client.list_artifacts(found.info.run_id, "samples")
    ]


def test_a_resumed_training_continues_in_the_same_place(
    prepared: Path, mlflow_here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped after its seventh step with a resume file of the fourth: nothing is logged twice."""
    output = mlflow_here / "gan"
    with plug_pulled(monkeypatch):
        code, text = run(capsys, *gan(prepared, output, *INSTALLED, resume_every=0))
        assert code == 1
        assert "RuntimeError: pulled the plug" in text
    assert genifer(*gan(prepared, output, *INSTALLED)) == 0
    steps = list(range(1, STEPS + 1))
    assert [event.step for event in events(output).Scalars("g_loss")] == steps
    table = pd.read_csv(output / "dvclive" / "plots" / "metrics" / "g_loss.tsv", sep="\t")
    assert table["step"].tolist() == steps
    client, found = mlflow_run()
    assert [p.step for p in client.get_metric_history(found.info.run_id, "g_loss")] == steps
    assert found.info.status == "FINISHED"


@needs_wandb
def test_wandb_has_scalars_settings_and_sample_grids(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline and without an account; a resumed training logs nothing twice and keeps its id."""
    monkeypatch.setenv("WANDB_PROJECT", "quickstart")
    output = tmp_path / "gan"
    with plug_pulled(monkeypatch):
        assert genifer(*gan(prepared, output, "wandb", resume_every=0)) == 1
    assert genifer(*gan(prepared, output, "wandb")) == 0

    logged = wandb_rows(output)
    losses = [(row["step"], row["g_loss"]) for row in logged if "g_loss" in row]
    assert [number for number, _ in losses] == list(range(1, STEPS + 1))
    assert dict(losses) == pytest.approx(rows(output, "g_loss"), rel=1e-4)
    grids = [(row["step"], row["samples.path"]) for row in logged if "samples.path" in row]
    assert [number for number, _ in grids] == sorted({number for number, _ in grids})
    assert grids[-1][0] == STEPS
    (picture,) = output.glob(f"wandb/offline-run-*/files/{grids[-1][1]}")
    with Image.open(picture) as image:
        assert np.asarray(image).std() > 5

    runs = [record.run for record in wandb_records(output) if record.HasField("run")]
    assert len({run.run_id for run in runs}) == 1
    assert {(run.project, run.display_name) for run in runs} == {
        ("quickstart", "pretrain_gan, task 0, seed 0")
    }
    assert {item.key: item.value_json for item in runs[0].config.update}["gan.r1_gamma"] == '"0.5"'
    ends = [record.exit.exit_code for record in wandb_records(output) if record.HasField("exit")]
    assert ends == [1, 0]

    # A training that starts anew begins a new run.
    assert genifer(*gan(prepared, output, "wandb")) == 0
    assert {record.run.run_id for record in wandb_records(output) if record.HasField("run")} != {
        runs[0].run_id
    }
    assert len(list(output.glob("wandb/offline-run-*"))) == 1


def test_trainings_that_begin_together(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them begin without a database of MLflow, and all are in it afterwards."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "quickstart")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    commands = [
        ["genifer", *gan(prepared, tmp_path / str(seed), "mlflow"), "--seed", str(seed)] for seed in range(3)
    ]
    started = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    for process in started:
        _, messages = process.communicate(timeout=300)
        assert process.returncode == 0
        assert "receives nothing" not in messages
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in runs} == {f"pretrain_gan, task 0, seed {seed}" for seed in range(3)}
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize(
    "tracker", [pytest.param(name, marks=needs_wandb if name == "wandb" else ()) for name in TRACKERS]
)
@pytest.mark.parametrize("call", ["__init__", "scalars", "image", "close"])
def test_a_tracker_that_fails_stops_nothing(
    tracker: str,
    call: str,
    prepared: Path,
    mlflow_here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("the other end has gone")

    monkeypatch.setattr(f"genifer.runtime.tracking.{tracker}.Tracker.{call}", fails)
    output = mlflow_here / "gan"
    code, text = run(capsys, *gan(prepared, output, tracker))
    assert code == 0, text
    whole = (prepared / "untracked" / "gan.safetensors").read_bytes()
    assert (output / "gan.safetensors").read_bytes() == whole
    warnings = [line for line in text.splitlines() if "receives nothing" in line]
    assert warnings == [f"{output}: {tracker} receives nothing from here on (the other end has gone)"]


def test_a_tracker_that_is_not_installed(
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Refused before a run; a training that has begun continues without it."""
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mlflow" else find(name))
    settings = merged(TINY, {"runtime": {"trackers": ["tensorboard", "mlflow"]}})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    code, text = run(capsys, "check", "--config", tmp_path / "run.yaml")
    assert code == 1
    assert "runtime.trackers: mlflow: not installed" in text
    assert "pip install mlflow" in text

    import_module = importlib.import_module

    def missing(name: str) -> Any:
        if "mlflow" in name:
            raise ModuleNotFoundError(f"No module named '{name}'")
        return import_module(name)

    monkeypatch.setattr("importlib.import_module", missing)
    code, text = run(capsys, *gan(prepared, tmp_path / "gan", "mlflow"))
    assert code == 0, text
    assert "mlflow receives nothing from here on" in text


def test_names_of_trackers(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, *gan(prepared, tmp_path / "gan", "tensorboard", "aim"))
    assert code == 1
    assert "'aim' is not allowed" in text
    for tracker in TRACKERS:
        assert f"'{tracker}'" in text
    assert not (tmp_path / "gan").exists()
