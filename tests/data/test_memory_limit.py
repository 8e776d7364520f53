"""A training on images ten times as large as the memory that it may use besides what PyTorch needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support.limited_memory import LimitedMemory

from genifer.data import prepared_images
from genifer.runtime.tensors import InPieces, save_in_pieces

pytestmark = pytest.mark.slow

MEGABYTE = 10**6
ALLOWED = 110 * MEGABYTE
"""For images and whatever else grows with the data set."""
IMAGES = 10 * ALLOWED

RUN: dict[str, Any] = {
    "run": "memory",
    "data": {
        "dataset": "image_folder",
        "archive": ".",
        "image_size": 64,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    },
    "scenario": {"tasks": [2, 2], "class_order": "sorted"},
    "methods": ["finetune"],
    "classifier": {"width": 2},
    "pretrain_classifier": {"steps": 20, "batch_size": 32},
    "runtime": {"device": "cpu", "precision": "fp32", "trackers": []},
}


def write_noise(path: Path, size: int) -> None:
    """Write a prepared file of two classes with random images of 64 pixels, so many bytes in all."""
    rng = np.random.default_rng(0)
    n = size // (3 * 64 * 64)
    pieces = (
        torch.from_numpy(rng.integers(0, 256, (min(1000, n - start), 3, 64, 64), dtype=np.uint8))
        for start in range(0, n, 1000)
    )
    labels = torch.arange(n) * 2 // n
    tensors = {
        "images": InPieces(torch.uint8, (n, 3, 64, 64), pieces),
        "labels": InPieces(torch.int64, (n,), [labels]),
    }
    description = {
        "kind": "data set",
        "split": "train",
        "task": 0,
        "tasks": [2, 2],
        "class_order": [0, 1, 2, 3],
    }
    description |= {"class_names": list("abcd"), "mean": [0.5] * 3, "std": [0.25] * 3}
    save_in_pieces(path, tensors, description)


@pytest.fixture
def memory() -> Iterator[LimitedMemory]:
    limited = LimitedMemory()
    yield limited
    limited.close()


def test_peak_memory_stays_under_the_limit(tmp_path: Path, memory: LimitedMemory) -> None:
    assert prepared_images.LARGE <= IMAGES
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RUN))
    command = [sys.executable, "-m", "genifer", "pretrain-classifier", "--config", tmp_path / "run.yaml"]
    for name, size in (("small", 10 * MEGABYTE), ("large", IMAGES)):
        path = tmp_path / f"{name}.safetensors"
        write_noise(path, size)
        with path.open("rb") as file:  # or its pages would count for whoever wrote it
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        limit = memory.own + ALLOWED if name == "large" else 2**40
        done = memory.run([*command, "--output", tmp_path / name, path], limit)
        assert done.returncode == 0, done.stdout
        assert (tmp_path / name / "classifier.safetensors").is_file()
    # What lies in memory anyway does not fit: the limit is a real one.
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump(RUN | {"runtime": RUN["runtime"] | {"data_on_device": True}})
    )
    killed = memory.run([*command, "--output", tmp_path / "copied", path], limit)
    assert killed.returncode == -9
