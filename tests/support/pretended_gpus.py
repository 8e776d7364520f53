"""GPUs that are not there: a stand-in for nvidia-smi lists them."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genifer.runtime.gpu_lease import FOLDER
from genifer.runtime.gpus import VISIBLE, Gpu


@contextmanager
def pretended_gpus(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gpu]]:
    """Put a stand-in for nvidia-smi on the path, and give the GPUs that it lists.

    Their names are used once, so they can be reserved beside trainings on real ones.
    """
    gpus = [Gpu(f"GPU-{uuid.uuid4()}", str(index), "Pretended") for index in range(number)]
    list_gpus(folder, gpus)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv(VISIBLE, raising=False)
    yield gpus
    for gpu in gpus:
        for slot in FOLDER.glob(f"{gpu.uuid}.*"):
            shutil.rmtree(slot)


def list_gpus(folder: Path, gpus: list[Gpu], complaint: str = "", code: int = 0) -> None:
    """Let the stand-in list these GPUs."""
    lines = [f"echo '{gpu.index}, {gpu.uuid}, {gpu.model}'" for gpu in gpus]
    lines += [f"echo '{complaint}'"] if complaint else []
    program = folder / "nvidia-smi"
    program.write_text("\n".join(["#!/bin/sh", *lines, f"exit {code}", ""]))
    program.chmod(0o755)
