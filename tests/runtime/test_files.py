"""A full disk: one message, nothing half-written, and afterwards the run continues."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support.commands import TINY, merged
from support.in_process import files_no_larger_than, genifer, run
from support.planned_jobs import command_of

from genifer.layout import Layout, pages_folder, plots_folder
from genifer.run_file import parse_settings

SETTINGS = merged(
    TINY,
    {"scenario": {"tasks": [4, 6]}, "methods": ["genifer"], "runtime": {"device": "cpu", "trackers": []}},
)
LAYOUT = Layout(parse_settings(SETTINGS, "run.yaml"))
RESULTS = LAYOUT.results
CONFIG = ["--config", "run.yaml"]


@dataclass(frozen=True)
class Command:
    """A command, and the files that it makes."""

    arguments: list[str]
    outputs: list[str]


def jobs() -> dict[str, Command]:
    """The jobs of a run, in order."""
    data = f"{RESULTS}/data"
    found = {"prepare_data": Command(["prepare-data", *CONFIG, "--output", data], LAYOUT.prepared)}
    for job in [*LAYOUT.trainings, *LAYOUT.evaluations, *LAYOUT.replay_evaluations]:
        outputs = list(job.outputs.values())
        found[f"{job.name}, task {job.task}"] = Command(command_of(job, job.folder, CONFIG), outputs)
    gan = LAYOUT.job("pretrain_gan", 0, "shared", 0)
    use = ["use-checkpoint", *CONFIG, "--gan", gan.checkpoint, "--output", "used/gan.safetensors"]
    found["use_checkpoint"] = Command([*use, *gan.inputs["data"]], ["used/gan.safetensors"])
    for table in LAYOUT.tabulated:
        arguments = ["tabulate", table.name, *CONFIG, "--results", RESULTS]
        found[table.job] = Command(arguments, list(table.outputs))
    for figure in LAYOUT.figures:
        arguments = ["plot", figure.name, *CONFIG, "--results", RESULTS, *figure.data]
        outputs = [path for picture in figure.pictures for path in LAYOUT.plot(picture)]
        found[figure.job] = Command(arguments, outputs)
    grids = LAYOUT.job("plot_sample_grids", 0, "shared", 0)
    outputs = [path for picture in LAYOUT.sample_grids("shared", 0, 0) for path in LAYOUT.plot(picture)]
    found[grids.name] = Command(command_of(grids, plots_folder(RESULTS), CONFIG), outputs)
    pages = [LAYOUT.page(page) for page in LAYOUT.pages]
    found["write_tables"] = Command(["write-tables", *CONFIG, "--results", RESULTS], pages)
    return found


JOBS = jobs()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of all jobs."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "run.yaml").write_text(yaml.safe_dump(SETTINGS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in JOBS.values():
            assert genifer(*command.arguments) == 0
            for path in command.outputs:
                assert Path(path).is_file()
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the results of all jobs."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.usefixtures("here")
def test_a_file_that_does_not_fit(
    job: str, share: float, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = JOBS[job]
    for path in command.outputs:
        Path(path).unlink()
    largest = max((finished / path).stat().st_size for path in command.outputs)
    with files_no_larger_than(int(share * largest)):
        code, text = run(capsys, *command.arguments)
    assert code == 1, text
    assert "Traceback" not in text
    (error,) = [line for line in text.splitlines() if line.startswith("genifer: ")]
    assert "cannot be written" in error
    assert "run the same command again" in error
    assert not list(Path(RESULTS).rglob(".*"))
    for path in filter(lambda path: Path(path).exists(), command.outputs):
        same_content(Path(path), finished / path)

    code, text = run(capsys, *command.arguments)
    assert code == 0, text
    for path in command.outputs:
        same_content(Path(path), finished / path)


def same_content(path: Path, whole: Path) -> None:
    """Compare bytes; plots carry random names and dates, but must open."""
    if path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".svg":
        assert path.read_text().endswith("</svg>\n")
    else:
        assert path.read_bytes() == whole.read_bytes(), path


@pytest.mark.usefixtures("here")
def test_no_room_for_resume_files_and_trackers(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The training continues without them: there may be room for its checkpoint in the end."""
    name = "pretrain_classifier, task 0"
    command = JOBS[name]
    checkpoint = Path(command.outputs[0])
    shutil.rmtree(checkpoint.parent)
    runtime = {"resume_every": 0.001, "trackers": ["tensorboard"]}
    longer = merged(SETTINGS, {"pretrain_classifier": {"steps": 400}, "runtime": runtime})
    Path("run.yaml").write_text(yaml.safe_dump(longer))
    with files_no_larger_than((finished / checkpoint).stat().st_size):
        code, text = run(capsys, *command.arguments)
    assert code == 0, text
    assert "continues without a resume file" in text
    assert checkpoint.is_file()
    assert not (checkpoint.parent / "resume").exists()
    shutil.rmtree(checkpoint.parent)
    with files_no_larger_than(1000):
        code, text = run(capsys, *command.arguments)
    assert "tensorboard receives nothing from here on" in text
    assert code == 1
    assert "Traceback" not in text


@pytest.mark.parametrize("job", ["prepare_data", "pretrain_classifier, task 0", "evaluate, task 0"])
@pytest.mark.usefixtures("here")
def test_a_folder_that_cannot_be_written(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file lies where the folder should be; a read-only disk gives the same error."""
    arguments = JOBS[job].arguments
    Path("lost").write_text("no folder")
    at = arguments.index("--output") + 1
    code, text = run(capsys, *arguments[:at], f"lost/{arguments[at]}", *arguments[at + 1 :])
    assert code == 1
    assert "Traceback" not in text
    assert "cannot be written" in text
    assert Path("lost").read_text() == "no folder"


@pytest.mark.usefixtures("here")
def test_a_folder_of_plots_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    for folder, job in ((plots_folder(RESULTS), "plot_accuracy"), (pages_folder(RESULTS), "write_tables")):
        shutil.rmtree(folder)
        Path(folder).write_text("no folder")
        code, text = run(capsys, *JOBS[job].arguments)
        assert code == 1
        assert "Traceback" not in text
        assert "cannot be written" in text


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
    command = ["prepare-data", *CONFIG, "--output", "data"]
    with files_no_larger_than(1000):
        code, text = run(capsys, *command)
    assert code == 1
    assert "photos.tar cannot be unpacked to" in text
    assert "TMPDIR" in text
    assert run(capsys, *command)[0] == 0
