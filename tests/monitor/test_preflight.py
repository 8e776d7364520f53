"""`genifer check` says before a run what its GPUs can take."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.chain import settings_with
from support.pretended_gpus import list_gpus, pretended_gpus

from genifer.monitor import start
from genifer.monitor.preflight import check_run
from genifer.runtime.gpus import Gpu


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gpu]]:
    """Pretended GPUs, which PyTorch finds, too."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Pretended")
    with pretended_gpus(2, tmp_path, monkeypatch) as gpus:
        yield gpus


def warnings(caplog: pytest.LogCaptureFixture, at_once: int | None, jobs_per_gpu: int = 1) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        check_run(settings_with(runtime={"jobs_per_gpu": jobs_per_gpu}), "cuda", False, at_once)
    assert "run quickstart: on Pretended" in caplog.text
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_more_trainings_than_gpus_can_take(gpus: list[Gpu], caplog: pytest.LogCaptureFixture) -> None:
    (warning,) = warnings(caplog, 3)
    assert warning.startswith(
        f"--resources gpu=3, but {gpus[0]}, {gpus[1]} and runtime.jobs_per_gpu: 1 allow only 2"
    )
    assert "Lower it to gpu=2, or raise runtime.jobs_per_gpu" in warning
    assert warnings(caplog, 2) == warnings(caplog, None) == []
    assert warnings(caplog, 4, jobs_per_gpu=2) == []
    assert "jobs_per_gpu: 2 allow only 4" in warnings(caplog, 5, jobs_per_gpu=2)[0]


def test_gpus_that_cannot_be_reserved(
    gpus: list[Gpu], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    list_gpus(tmp_path, gpus[:1], "GPU is lost.", 15)
    assert warnings(caplog, 1) == ["nvidia-smi: GPU is lost. (exit code 15)"]
    list_gpus(tmp_path, [])
    (warning,) = warnings(caplog, 1)
    assert "trainings that run at the same time share the first GPU" in warning


@pytest.mark.usefixtures("gpus")
def test_the_workflow_passes_its_resource(capfd: pytest.CaptureFixture[str]) -> None:
    settings = settings_with(runtime={"jobs_per_gpu": 1})
    assert start.check_elsewhere(settings, elsewhere=False, gpus=3)
    assert "--resources gpu=3, but GPU 0" in capfd.readouterr().err
