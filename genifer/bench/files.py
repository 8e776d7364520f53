"""Benchmarks of data preparation, and of resume files and checkpoints."""

from __future__ import annotations

import dataclasses
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
from genifer.bench.steps import variant_with_gan
from genifer.config import RunSettings
from genifer.data.archives import md5_of
from genifer.data.batches import load_task_data
from genifer.errors import GeniferError
from genifer.layout import Layout
from genifer.training.checkpoints import load_gan, save_gan
from genifer.training.resume import ResumeFiles, not_finite, restore_state, state_of
from genifer.training.untrained import untrained_gan
from genifer.versions import job_settings

CIFAR_FORMAT = "cifar-100-python.tar.gz"
"""The only archive format that can be generated."""
CIFAR_IMAGES = {"train": 50_000, "test": 10_000}
CIFAR_CLASSES = 100


def data(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Measure the preparation of the run's data set, in a separate process, and reading the first task.

    If the archive has not been downloaded yet and has CIFAR-100's format, one with random images is generated
    instead, which compress worse than photographs.
    """
    with tempfile.TemporaryDirectory(dir=Path(), prefix=".bench-") as folder:
        settings, archive, source = _with_archive(settings, Path(folder))
        prepared = Path(folder) / "data"
        seconds, memory = [], 0
        for _ in range(meter.repeats):
            began = time.perf_counter()
            memory = max(memory, _prepare(settings, archive, prepared))
            seconds.append(time.perf_counter() - began)
        raw = sum(path.stat().st_size for path in prepared.glob("*.safetensors"))
        own = memory - _peak_memory([sys.executable, "-c", "import genifer.data.prepare"])
        note = f"memory {own / raw:.1f} times the {raw / 1e6:.0f} MB of images, libraries excluded{source}"
        yield Figures.of("data, prepare", seconds, memory=memory, note=note)
        first = prepared / Path(Layout(settings).data("train", [0], settings.seeds[0])[0]).name
        read = meter.seconds(lambda: load_task_data([first], meter.device), 1)
        yield Figures.of("data of a task, read", read, note=_megabytes(first))


def _with_archive(settings: RunSettings, folder: Path) -> tuple[RunSettings, Path | None, str]:
    """Return settings for preparing the data set, its downloaded archive, and a note on its source."""
    downloaded = Layout(settings).downloaded
    if not downloaded:
        return settings, None, ""
    if Path(downloaded).is_file():
        return settings, Path(downloaded), ""
    dataset = settings.registry.dataset(settings.data.dataset)
    if dataset.archive_format != CIFAR_FORMAT:
        raise GeniferError(
            f"data.dataset: {dataset.name} has not been downloaded yet; run: genifer download-data "
            f"--config RUN_FILE --output {downloaded}"
        )
    archive = folder / CIFAR_FORMAT
    # A process inherits the peak memory of its parent, so another process generates the archive.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(make_up_cifar, archive).result()
    given = settings.data.model_copy(update={"archive": archive, "archive_md5": md5_of(archive)})
    return settings.model_copy(update={"data": given}), None, "; made-up archive"


def _prepare(settings: RunSettings, archive: Path | None, output: Path) -> int:
    """Run the job, and return its peak memory in bytes."""
    command = [sys.executable, "-m", "genifer", "prepare-data", "--output", str(output)]
    command += ["--settings", json.dumps(job_settings(settings.of_seed(settings.seeds[0]), "prepare_data"))]
    command += ["--runtime", json.dumps({"plugins": [str(path) for path in settings.plugins]})]
    if archive is not None:
        command += ["--archive", str(archive)]
    return _peak_memory(command)


def _peak_memory(command: list[str]) -> int:
    """Run a command, and return its peak memory in bytes."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    messages = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise GeniferError(messages.strip())
    return bytes_of(usage)


def make_up_cifar(path: Path) -> None:
    """Write an archive of random images with the size and format of CIFAR-100's."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for split, n in CIFAR_IMAGES.items():
            images = rng.integers(0, 256, (n, 3 * 32 * 32), dtype=np.uint8)
            labels = (np.arange(n) % CIFAR_CLASSES).tolist()
            _add(tar, split, {"data": images, "fine_labels": labels})
        _add(tar, "meta", {"fine_label_names": [f"class {i}" for i in range(CIFAR_CLASSES)]})


def _add(tar: tarfile.TarFile, name: str, content: dict[str, Any]) -> None:
    pickled = io.BytesIO()
    _AsPython2(pickled, protocol=2).dump(content)
    entry = tarfile.TarInfo(f"cifar-100-python/{name}")
    entry.size = pickled.tell()
    pickled.seek(0)
    tar.addfile(entry, pickled)


class _AsPython2(pickle._Pickler):  # the C implementation does not allow overriding how bytes are written
    """Writes bytes as Python 2 wrote strings, like the original archive's pickles."""

    write: Any

    def save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)

    dispatch: ClassVar[Any] = {**pickle._Pickler.dispatch, bytes: save_bytes}


def checkpoint(meter: Meter, settings: RunSettings) -> Iterator[Figures]:
    """Measure writing and reading the resume file and the checkpoint of a GAN's training, in this folder."""
    gan = untrained_gan(variant_with_gan(settings).settings, meter.job("pretrain_gan", 0))
    gan.step(gan.draw_batch(), 0)  # so that the optimizers have all their state
    with tempfile.TemporaryDirectory(dir=Path(), prefix=".bench-") as folder:
        files, path = ResumeFiles(Path(folder), {}), Path(folder) / "gan.safetensors"

        def write_resume_file() -> None:
            state = state_of(gan.parts)
            assert not_finite(state) is None
            files.write(0, state)

        def read_resume_file() -> None:
            found = files.read()
            assert found is not None
            restore_state(gan.parts, found[1], files.folder)

        def write_checkpoint() -> None:
            save_gan(path, gan.g_ema, gan.discriminator, 1, 0)

        written = Figures.of("resume file, write", meter.seconds(write_resume_file, 1))
        newest = files.newest()
        assert newest is not None
        note, minutes = _megabytes(newest), settings.runtime.resume_every
        if minutes:
            note += f", {written.seconds / (60 * minutes):.2%} of the time with one every {minutes:g} minutes"
        yield dataclasses.replace(written, note=note)
        yield Figures.of("resume file, read", meter.seconds(read_resume_file, 1))
        seconds = meter.seconds(write_checkpoint, 1)
        yield Figures.of("checkpoint of a GAN, write", seconds, note=_megabytes(path))
        read = meter.seconds(lambda: load_gan(path, meter.device), 1)
        yield Figures.of("checkpoint of a GAN, read", read)


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.0f} MB"
