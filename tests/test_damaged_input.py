"""Damaged settings, archives, images, checkpoints and resume files: a message, or the right result."""

from __future__ import annotations

import io
import random
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from support.commands import TINY, call, merged
from support.in_process import genifer, run

from genifer.config import registry_of
from genifer.settings_model import settings_model

DAMAGED = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def damage(content: bytes, seed: int) -> bytes:
    """Cut the end off, flip up to three bytes, put some in, or take some out."""
    rng = random.Random(seed)
    at = rng.randrange(len(content))
    match rng.randrange(5):
        case 0:
            return content[:at]
        case 1 | 2:
            flipped = bytearray(content)
            for _ in range(rng.randint(1, 3)):
                # Headers come first and matter most.
                flipped[rng.randrange(rng.choice([len(content), min(len(content), 600)]))] ^= rng.randint(
                    1, 255
                )
            return bytes(flipped)
        case 3:
            return content[:at] + rng.randbytes(rng.randint(1, 600)) + content[at:]
        case _:
            return content[:at] + content[at + rng.randint(1, 600) :]


def refused(code: int, text: str, path: str) -> bool:
    """Whether it was refused, with a message that names the file."""
    assert "Traceback" not in text, text
    if code == 0:
        return False
    assert code == 1
    assert text.startswith("genifer: ") or "\ngenifer: " in text, text
    assert path in text, text
    return True


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny run's data and checkpoints, and an archive of pictures."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "run.yaml").write_text(yaml.safe_dump(TINY))
    data = folder / "data" / "task_0_train.safetensors"
    classifier = ["--classifier", folder / "classifier" / "classifier.safetensors"]
    for command in (
        ["prepare-data", "--output", folder / "data"],
        ["pretrain-classifier", "--output", folder / "classifier", data],
        ["pretrain-gan", *classifier, "--output", folder / "gan", data],
    ):
        assert genifer(*command, "--config", folder / "run.yaml") == 0
    pixels = np.random.RandomState(0).randint(0, 255, (2, 2, 2, 16, 16, 3), dtype=np.uint8)
    with (
        tarfile.open(folder / "photos.tar.gz", "w:gz") as packed,
        tarfile.open(folder / "photos.tar", "w") as tar,
    ):
        for split, of_split in zip(("train", "test"), pixels, strict=True):
            for name, of_class in zip(("ant", "bee"), of_split, strict=True):
                for index, image in enumerate(of_class):
                    file = io.BytesIO()
                    Image.fromarray(image).save(file, ("PNG", "JPEG")[index])
                    info = tarfile.TarInfo(f"{split}/{name}/{index}.{('png', 'jpg')[index]}")
                    info.size = file.tell()
                    for archive in (packed, tar):
                        file.seek(0)
                        archive.addfile(info, file)
    with tarfile.open(folder / "photos.tar") as tar:
        tar.extractall(folder / "photos", filter="data")
    (folder / "photos.yaml").write_text(
        yaml.safe_dump(
            merged(
                TINY,
                {
                    "data": {"dataset": "image_folder", "archive": "damaged"},
                    "scenario": {"tasks": [1, 1], "class_order": "sorted"},
                },
            )
        )
    )
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in sound.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "auto", "cpu", "~", "é", "../x", "\x00", "1e9"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def every_setting() -> list[tuple[str, ...]]:
    def below(block: Any, name: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield name
        if isinstance(block, dict):
            for key, inner in block.items():
                yield from below(inner, (*name, key))

    return list(below(settings_model(registry_of([]))().model_dump(), ()))


@settings(DAMAGED, max_examples=100)
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(every_setting()), values, st.sampled_from(["", "x"])),
        min_size=1,
        max_size=3,
    ),
)
@example(changes=[((), [], "")])
@example(changes=[((), {"": None}, "")])
def test_settings(
    changes: list[tuple[tuple[str, ...], Any, str]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content: Any = merged(TINY, {})
    for name, value, suffix in changes:
        for key in reversed(name):
            value = {key + suffix: value}
        content = merged(content, value) if isinstance(value, dict) and isinstance(content, dict) else value
    (folder / "damaged.yaml").write_text(yaml.safe_dump(content, allow_unicode=True))
    code, text = run(capsys, "prepare-data", "--config", "damaged.yaml", "--output", "out")
    shutil.rmtree("out", ignore_errors=True)
    assert "Traceback" not in text
    assert code in (0, 1)
    if code:
        assert "genifer: " in text


seeds = st.integers(0, 2**64)


@settings(DAMAGED, max_examples=50)
@given(seed=seeds)
def test_settings_files(seed: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "damaged.yaml").write_bytes(damage((folder / "run.yaml").read_bytes(), seed))
    code, text = run(capsys, "prepare-data", "--config", "damaged.yaml", "--output", "out")
    shutil.rmtree("out", ignore_errors=True)
    assert "Traceback" not in text
    assert code == 0 or "genifer: " in text


def prepared(folder: Path) -> dict[str, bytes]:
    return {
        path.name: load_file(path)["images"].numpy().tobytes()
        for path in (folder / "out").glob("*.safetensors")
    }


@settings(DAMAGED, max_examples=60)
@given(seed=seeds, name=st.sampled_from(["photos.tar.gz", "photos.tar"]))
def test_archives(seed: int, name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plain tar has no checksum of its files' contents, but none of them is lost silently."""
    for source in (name, None):
        content = (folder / name).read_bytes()
        (folder / "damaged").write_bytes(content if source is None else damage(content, seed))
        code, text = run(capsys, "prepare-data", "--config", "photos.yaml", "--output", "out")
        if source is None:
            assert code == 0, text
        elif not refused(code, text, "damaged"):
            results = prepared(folder)
        else:
            assert not Path("out").exists()
            return
        found = prepared(folder)
        shutil.rmtree("out")
    if name.endswith(".gz"):
        assert results == found
    else:
        assert {key: len(value) for key, value in results.items()} == {
            key: len(value) for key, value in found.items()
        }


@settings(DAMAGED, max_examples=60)
@given(seed=seeds, name=st.sampled_from(["0.png", "1.jpg"]), limit=st.integers(0, 1))
def test_images(seed: int, name: str, limit: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "damaged", ignore_errors=True)
    shutil.copytree(folder / "photos", folder / "damaged")
    image = folder / "damaged" / "train" / "ant" / name
    image.write_bytes(damage(image.read_bytes(), seed))
    Path("images.yaml").write_text(
        yaml.safe_dump(
            merged(yaml.safe_load(Path("photos.yaml").read_text()), {"data": {"max_bad_images": limit}})
        )
    )
    code, text = run(capsys, "prepare-data", "--config", "images.yaml", "--output", "out")
    if refused(code, text, f"train/ant/{name}"):
        assert limit == 0
        assert not Path("out").exists()
        return
    of_task = load_file("out/task_0_train.safetensors")
    assert len(of_task["images"]) == len(of_task["labels"]) in (2 - limit, 2)
    shutil.rmtree("out")


CHECKPOINTS: dict[str, Callable[[str], list[str]]] = {
    "data/task_0_test.safetensors": lambda damaged: [
        *["evaluate", "--method", "genifer", "--output", "out"],
        *["--classifier", "classifier/classifier.safetensors", damaged],
    ],
    "classifier/classifier.safetensors": lambda damaged: [
        *["evaluate", "--method", "genifer", "--output", "out"],
        *["--classifier", damaged, "data/task_0_test.safetensors"],
    ],
    "gan/gan.safetensors": lambda damaged: [
        *["use-checkpoint", "--gan", damaged, "--output", "out/gan.safetensors"],
        "data/task_0_train.safetensors",
    ],
}


@settings(DAMAGED, max_examples=80)
@given(seed=seeds, name=st.sampled_from(sorted(CHECKPOINTS)))
def test_checkpoints(seed: int, name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused, whatever was changed in it."""
    content = (folder / name).read_bytes()
    damaged = damage(content, seed)
    if damaged == content:
        return
    (folder / "damaged").write_bytes(damaged)
    code, text = run(capsys, *CHECKPOINTS[name]("damaged"), "--config", "run.yaml")
    assert refused(code, text, "damaged")
    assert not list(Path("out").glob("*"))


@pytest.fixture(scope="module")
def interrupted(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the resume files of a training that was stopped, and one with what it ends with."""
    folder = tmp_path_factory.mktemp("interrupted")
    content = merged(TINY, {"runtime": {"deterministic": True, "resume_every": 0, "trackers": []}})
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    stop_after = """
from genifer.cli import main
from genifer.training import resume
steps = []
due = resume.Clock.due
def stopping(self):
    steps.append(0)
    if len(steps) == 16:
        raise KeyboardInterrupt
    return due(self)
resume.Clock.due = stopping
main()
"""
    data = sound / "data" / "task_0_train.safetensors"
    command = ["pretrain-classifier", "--config", "run.yaml", data]
    done = call([sys.executable, "-c", stop_after, *command, "--output", "stopped"], folder)
    assert done.returncode, done.stderr
    assert len(list((folder / "stopped" / "resume").glob("*"))) == 2, done.stderr
    done = call(["genifer", *command, "--output", "whole"], folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@settings(DAMAGED, max_examples=20)
@given(seed=seeds, both=st.booleans())
def test_resume_files(
    seed: int,
    both: bool,
    sound: Path,
    interrupted: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A damaged one is not used, and the result is the same."""
    folder = interrupted
    shutil.rmtree(folder / "out", ignore_errors=True)
    shutil.copytree(folder / "stopped" / "resume", folder / "out" / "resume")
    for path in sorted((folder / "out" / "resume").iterdir())[0 if both else 1 :]:
        content = path.read_bytes()
        path.write_bytes(damage(content, seed))
        if path.read_bytes() == content:
            return
    options = ["--config", folder / "run.yaml", "--output", folder / "out"]
    code, text = run(capsys, "pretrain-classifier", *options, sound / "data" / "task_0_train.safetensors")
    assert code == 0, text
    assert text.count("not used, it cannot be read") == 1 + both
    assert ("resumes after step" in text) is not both
    whole, found = (folder / name / "classifier.safetensors" for name in ("whole", "out"))
    assert found.read_bytes() == whole.read_bytes()
