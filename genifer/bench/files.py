"""Preparing and reading data, and the writing and reading of resume files and checkpoints."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from genifer.bench.meter import Figures, Meter, bytes_of
from genifer.config import RunSettings, stage_settings
from genifer.data.batches import Normalization, load_task_data
from genifer.errors import GeniferError
from genifer.training.checkpoints import load_gan, save_gan
from genifer.training.gan import gan_batches, gan_data
from genifer.training.resume import ResumeFiles, not_finite, restore_state, state_of
from genifer.training.stage import RESUME_EVERY
from genifer.untrained import new_gan_step

CIFAR100 = {"train": 50_000, "test": 10_000}
CIFAR100_CLASSES = 100


def data(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Preparing the run's data set, in a process of its own, and reading the first task's images.

    For CIFAR-100 an archive of its size and format is made up; noise compresses worse than photographs.
    """
    with tempfile.TemporaryDirectory(dir=Path(), prefix=".bench-") as folder:
        here, prepared = Path(folder), Path(folder) / "data"
        if settings.data.dataset == "cifar100":
            archive = here / "cifar-100-python.tar.gz"
            # Elsewhere: a process's peak of memory begins with that of the one that started it.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
                md5 = elsewhere.submit(_make_up_cifar100, archive).result()
            given = settings.data.model_copy(update={"archive": archive, "archive_md5": md5})
            settings = settings.model_copy(update={"data": given})
        seconds, memory = [], 0
        for _ in range(meter.repeats):
            began = time.perf_counter()
            memory = max(memory, _prepare(settings, prepared))
            seconds.append(time.perf_counter() - began)
        raw = sum(path.stat().st_size for path in prepared.glob("*.safetensors"))
        beside = memory - _most_memory([sys.executable, "-c", "import genifer.data.prepare"])
        note = f"beside the libraries {beside / raw:.1f} times the {raw / 1e6:.0f} MB of images"
        yield Figures.of("data, prepared", seconds, memory=memory, note=note)
        first = prepared / "task_0_train.safetensors"
        read = meter.seconds(lambda: load_task_data([first], meter.device), 1)
        yield Figures.of("data of a task, read", read, note=_megabytes(first))


def _prepare(settings: RunSettings, output: Path) -> int:
    """Run the stage; returns the most memory that it had, in bytes."""
    slice_ = json.dumps(stage_settings(settings, "prepare_data"))
    stage = [sys.executable, "-m", "genifer", "prepare-data"]
    return _most_memory([*stage, "--output", str(output), "--settings", slice_])


def _most_memory(command: list[str]) -> int:
    """The most memory that a command had, in bytes."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise GeniferError(said.strip())
    return bytes_of(usage)


def _make_up_cifar100(path: Path) -> str:
    """An archive of random images; returns its MD5."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for split, n in CIFAR100.items():
            images = rng.integers(0, 256, (n, 3 * 32 * 32), dtype=np.uint8)
            labels = (np.arange(n) % CIFAR100_CLASSES).tolist()
            _add(tar, split, {"data": images, "fine_labels": labels})
        _add(tar, "meta", {"fine_label_names": [f"class {i}" for i in range(CIFAR100_CLASSES)]})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _add(tar: tarfile.TarFile, name: str, content: dict[str, Any]) -> None:
    pickled = io.BytesIO()
    _AsPython2(pickled, protocol=2).dump(content)
    entry = tarfile.TarInfo(f"cifar-100-python/{name}")
    entry.size = pickled.tell()
    pickled.seek(0)
    tar.addfile(entry, pickled)


class _AsPython2(pickle._Pickler):  # the one in C takes no other way of writing bytes
    """Writes bytes as Python 2 wrote strings, like the archive's pickles."""

    write: Any

    def save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)

    dispatch: ClassVar[Any] = {**pickle._Pickler.dispatch, bytes: save_bytes}


def checkpoint(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Writing and reading the resume file and the checkpoint of a GAN's training, in this folder."""
    stage = meter.stage("pretrain_gan", 0)
    gan, images = new_gan_step(settings, stage)
    normalize = Normalization(images.mean, images.std).to(meter.device)
    batch = next(gan_batches(gan, gan_data(gan, images, stage.start()), normalize))
    gan.discriminator_step(batch, 1)
    gan.generator_step(batch)  # the optimisers have all their moments now
    averaged = copy.deepcopy(gan.generator)
    parts = gan.parts | {"averaged generator": averaged}
    with tempfile.TemporaryDirectory(dir=Path(), prefix=".bench-") as folder:
        files, path = ResumeFiles(Path(folder), {}), Path(folder) / "gan.safetensors"

        def write_resume_file() -> None:
            state = state_of(parts)
            assert not_finite(state) is None
            files.write(0, state)

        def read_resume_file() -> None:
            found = files.read()
            assert found is not None
            restore_state(parts, found[1], files.folder)

        def write_checkpoint() -> None:
            save_gan(path, averaged, gan.discriminator, 1, 0)

        written = Figures.of("resume file, written", meter.seconds(write_resume_file, 1))
        newest = files.newest()
        assert newest is not None
        share = written.seconds / (60 * RESUME_EVERY)
        note = f"{_megabytes(newest)}, {share:.2%} of the time at one every {RESUME_EVERY:g} minutes"
        yield dataclasses.replace(written, note=note)
        yield Figures.of("resume file, read", meter.seconds(read_resume_file, 1))
        seconds = meter.seconds(write_checkpoint, 1)
        yield Figures.of("GAN's checkpoint, written", seconds, note=_megabytes(path))
        read = meter.seconds(lambda: load_gan(path, meter.device), 1)
        yield Figures.of("GAN's checkpoint, read", read)


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.0f} MB"
