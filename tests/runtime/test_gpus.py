"""Which GPUs a process may use, from nvidia-smi and CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pretended_gpus import list_gpus, pretended_gpus

from genifer.runtime import gpus as module
from genifer.runtime.gpus import VISIBLE, Gpu, visible_gpus


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gpu]]:
    with pretended_gpus(3, tmp_path, monkeypatch) as gpus:
        yield gpus


def test_all_where_nothing_is_chosen(gpus: list[Gpu]) -> None:
    assert visible_gpus() == (gpus, [])


@pytest.mark.parametrize(
    ("setting", "indices"),
    [
        ("2,0", [2, 0]),
        (" 1 ", [1]),
        ("1,1", [1]),
        ("{0}", [0]),
        ("{2:.12},1", [2, 1]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [0]),
        ("NoDevFiles", []),
    ],
)
def test_as_cuda_reads_it(
    setting: str, indices: list[int], gpus: list[Gpu], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, setting.format(*(gpu.uuid for gpu in gpus)))
    assert visible_gpus() == ([gpus[index] for index in indices], [])


@pytest.mark.usefixtures("gpus")
def test_parts_of_a_gpu_have_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "MIG-1,MIG-2")
    assert visible_gpus() == ([Gpu("MIG-1"), Gpu("MIG-2")], [])


def test_gpus_that_are_not_there(gpus: list[Gpu], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "0,7,GPU-,2")
    found, (seven, ambiguous) = visible_gpus()
    assert found == [gpus[0], gpus[2]]
    assert f"{VISIBLE}=0,7,GPU-,2: '7' is none of the GPUs that nvidia-smi lists" in seven
    assert all(str(gpu) in seven for gpu in gpus)
    assert "'GPU-' is more than one" in ambiguous


def test_a_gpu_that_has_fallen_out(gpus: list[Gpu], tmp_path: Path) -> None:
    complaint = "Unable to determine the device handle for GPU 0000:3B:00.0: GPU is lost."
    list_gpus(tmp_path, [gpus[0], gpus[2]], complaint, 15)
    assert visible_gpus() == ([gpus[0], gpus[2]], [f"nvidia-smi: {complaint} (exit code 15)"])
    list_gpus(tmp_path, [], code=9)
    assert visible_gpus() == ([], ["nvidia-smi: failed (exit code 9)"])


@pytest.mark.usefixtures("gpus")
def test_nvidia_smi_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.1)
    found, (problem,) = visible_gpus()
    assert found == []
    assert "timed out" in problem


def test_no_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VISIBLE, raising=False)
    assert visible_gpus() == ([], [])
    monkeypatch.setenv(VISIBLE, "0")  # as a scheduler does; the GPU is there, though nothing lists it
    assert visible_gpus() == ([], [])
