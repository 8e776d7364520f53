"""A disk that is full: one message, nothing half-written, and afterwards the run goes on."""

from __future__ import annotations

import logging
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml
from commands import TINY, merged
from in_process import files_no_larger_than, genifer, run
from PIL import Image

TRAIN = ["--data", "data/task_0_train.safetensors"]
CLASSIFIER = ["--classifier", "classifier/classifier.safetensors"]

STAGES: dict[str, list[str]] = {
    "data": ["prepare-data", "--config", "run.yaml", "--output", "data"],
    "classifier": ["pretrain-classifier", "--config", "run.yaml", *TRAIN, "--output", "classifier"],
    "gan": ["pretrain-gan", "--config", "run.yaml", *TRAIN, *CLASSIFIER, "--output", "gan"],
    "taken": [
        *["use-checkpoint", "--config", "run.yaml", *TRAIN],
        *["--gan", "gan/gan.safetensors", "--output", "taken/gan.safetensors"],
    ],
    "evaluation": [
        *["evaluate", "--config", "run.yaml", "--method", "first_task", *CLASSIFIER],
        *["--data", "data/task_0_test.safetensors", "--output", "evaluation"],
    ],
    "tables": [*["tabulate", "--method", "genifer", "--evaluation", "evaluation", "--output", "tables"]],
    "training": ["tabulate-training", "--metrics", "gan/metrics.csv", "--output", "training/training.csv"],
    "plots": [
        *["plot-accuracy", "--config", "run.yaml", "--accuracy", "tables/accuracy.csv"],
        *["--confusion", "tables/confusion.csv", "--output", "plots"],
    ],
    "evaluation of the replay": [
        *["evaluate-replay", "--config", "run.yaml", "--gan", "gan/gan.safetensors", *CLASSIFIER],
        *["--training-data", "data/task_0_train.safetensors", "--data", "data/task_0_test.safetensors"],
        *["--output", "replay"],
    ],
    "costs": ["tabulate-costs", "--job", "gan", "--output", "costs/costs.csv"],
    "pages": ["write-tables", "--results", "tables", "--output", "pages"],
    "plots of trainings": [
        *["plot-training", "--config", "run.yaml", "--training", "training/training.csv"],
        *["--output", "plots_of_trainings"],
    ],
    "palettes": [
        *["plot-palettes", "--config", "run.yaml", "--gan", "gan/gan.safetensors", *CLASSIFIER],
        *["--nearest", "replay/nearest.safetensors", "--data", "data/task_0_test.safetensors"],
        *["--output", "palettes"],
    ],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage's results, made without trouble."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "run.yaml").write_text(yaml.safe_dump(TINY))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for arguments in STAGES.values():
            assert genifer(*arguments) == 0
    return folder


def outputs(folder: Path, arguments: list[str]) -> dict[str, Path]:
    """The files that a stage makes, and that others can take for whole."""
    output = folder / arguments[arguments.index("--output") + 1]
    within = output if output.is_dir() or not output.suffix else output.parent
    return {
        str(path.relative_to(folder)): path
        for path in within.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts and path.name != "status.json"
    }


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("stage", STAGES)
def test_a_file_that_does_not_fit(
    stage: str,
    share: float,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = STAGES[stage]
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    whole = outputs(finished, arguments)
    for path in outputs(tmp_path, arguments).values():
        path.unlink()
    largest = max(path.stat().st_size for path in whole.values())
    monkeypatch.chdir(tmp_path)
    with files_no_larger_than(int(share * largest)):
        code, text = run(capsys, *arguments)
    assert code == 1, text
    assert "Traceback" not in text
    assert text.count("cannot be written") == 1, text
    assert "run the same command again" in text
    for name, path in outputs(tmp_path, arguments).items():
        assert not path.name.startswith("."), path
        same_content(path, whole[name])

    assert run(capsys, *arguments)[0] == 0
    found = outputs(tmp_path, arguments)
    assert set(found) == set(whole)
    for name, path in found.items():
        same_content(path, whole[name])


def same_content(path: Path, whole: Path) -> None:
    """Pictures carry random names and dates; they have to open."""
    if path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".svg":
        assert path.read_text().endswith("</svg>\n")
    else:
        assert path.read_bytes() == whole.read_bytes(), path


def test_no_room_for_resume_files_and_events(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The training goes on without them: it may have room for its checkpoint in the end."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree("classifier")
    Path("run.yaml").write_text(
        yaml.safe_dump(
            merged(TINY, {"pretrain_classifier": {"steps": 400}, "runtime": {"resume_every": 0.001}})
        )
    )
    checkpoint = (finished / "classifier" / "classifier.safetensors").stat().st_size
    with caplog.at_level(logging.WARNING), files_no_larger_than(checkpoint):
        code, text = run(capsys, *STAGES["classifier"])
    assert code == 0, text
    assert "goes on without a resume file" in caplog.text
    assert Path("classifier/classifier.safetensors").is_file()
    assert not Path("classifier/resume").exists()
    shutil.rmtree("classifier")
    with caplog.at_level(logging.WARNING), files_no_larger_than(1000):
        code, text = run(capsys, *STAGES["classifier"])
    assert "tensorboard is told nothing from here on" in caplog.text
    assert code == 1
    assert "Traceback" not in text


@pytest.mark.parametrize("stage", ["data", "classifier", "evaluation", "plots"])
def test_a_results_folder_that_cannot_be_written(
    stage: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file lies where the folder should be; the same error comes of a read-only disk."""
    arguments = STAGES[stage]
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("lost").write_text("no folder")
    at = arguments.index("--output") + 1
    code, text = run(capsys, *arguments[:at], f"lost/{arguments[at]}", *arguments[at + 1 :])
    assert code == 1
    assert "Traceback" not in text
    assert "cannot be written" in text
    assert Path("lost").read_text() == "no folder"


def test_no_room_to_unpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with tarfile.open("photos.tar", "w") as tar:
        for split in ("train", "test"):
            folder = tmp_path / split / "ant"
            folder.mkdir(parents=True)
            Image.effect_noise((64, 64), 50).save(folder / "0.png")
            tar.add(tmp_path / split, split)
    changes = {
        "data": {"dataset": "image_folder", "archive": "photos.tar"},
        "scenario": {"tasks": [1], "class_order": "sorted"},
    }
    Path("run.yaml").write_text(yaml.safe_dump(merged(TINY, changes)))
    with files_no_larger_than(1000):
        code, text = run(capsys, *STAGES["data"])
    assert code == 1
    assert "photos.tar cannot be unpacked to" in text
    assert "TMPDIR" in text
    assert run(capsys, *STAGES["data"])[0] == 0
