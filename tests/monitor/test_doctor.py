"""`genifer doctor` says what would stop a run, before it does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import TINY, merged, write_run_file

from genifer.errors import GeniferError
from genifer.monitor.doctor import _weights, examine
from genifer.monitor.preflight import check_given_files
from genifer.nn.torchvision_weights import URLS
from genifer.run_file import parse_settings

Genifer = Callable[..., subprocess.CompletedProcess[str]]


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in json.loads(done.stdout)["checks"]}


def data_finding(**data: Any) -> tuple[str, str]:
    """Verdict and message of the check of the data."""
    settings = parse_settings(merged(TINY, {"data": data, "scenario": {"tasks": [50, 50]}}), "test")
    found = next(finding for finding in examine(settings, "cpu") if finding.check == "data")
    return found.verdict, found.message


def test_a_sound_machine(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path)
    before = set(tmp_path.rglob("*"))
    done = genifer("doctor", "--config", run_file, "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == ["device", "precision", "data", "disk", "results", "time"]
    assert {line[0] for line in lines} <= {"ok", "note"}
    assert set(tmp_path.rglob("*")) == before


def test_what_would_stop_the_run(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(
        tmp_path,
        data={"dataset": "image_folder", "archive": "nowhere"},
        classifier={"width": 64},
        joint={"steps": 10**9},
        seeds=list(range(10_000)),
    )
    (tmp_path / "results").write_text("a file where a folder should be")
    done = genifer("doctor", "--config", run_file, "--device", "auto", "--json")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = findings(done)
    assert found["data"]["verdict"] == "stop"
    assert "data.archive: nowhere does not exist" in found["data"]["message"]
    assert found["disk"]["verdict"] == "stop"
    assert "the prepared images" in found["disk"]["message"]
    assert found["disk"]["figures"] == {}
    assert found["results"]["verdict"] == "stop"
    assert "results: cannot be written" in found["results"]["message"]
    if found["device"]["message"].endswith("no GPU was found"):
        assert found["time"]["verdict"] == "stop"
        assert "Set runtime.device: cpu to run anyway" in found["time"]["message"]


@pytest.mark.parametrize(
    ("device", "words"),
    [("cuda", "runtime.device: cuda"), ("gpu", "'gpu' is not known; allowed: auto, cpu, cuda")],
)
def test_a_device_that_does_not_exist(genifer: Genifer, tmp_path: Path, device: str, words: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = genifer("doctor", "--config", write_run_file(tmp_path), "--device", device, "--json")
    assert done.returncode == 1
    found = findings(done)
    for check in ("device", "time"):
        assert found[check]["verdict"] == "stop"
        assert words in found[check]["message"]


def test_data_that_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cifar = {"dataset": "cifar100", "channels": 3}
    unreachable = tmp_path / "nowhere"
    monkeypatch.setattr("genifer.data.sets.cifar100.Cifar100.url", f"file://{unreachable}/archive.tar.gz")
    verdict, message = data_finding(**cifar)
    assert verdict == "stop"
    assert "cannot be reached" in message
    assert "set data.archive" in message

    archive = tmp_path / "results" / "downloads" / "cifar100" / "archive.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.write_text("not the archive")
    verdict, message = data_finding(**cifar)
    assert verdict == "stop"
    assert "its MD5 is not" in message
    assert data_finding(**cifar, archive_md5=None) == (
        "ok",
        "found in results/downloads/cifar100/archive.tar.gz",
    )
    verdict, message = data_finding(**cifar, archive=str(tmp_path))
    assert verdict == "stop"
    assert "is a folder" in message

    for task in (0, 1):
        for split in ("train", "test"):
            path = tmp_path / "results" / "quickstart" / "data" / f"task_{task}_{split}.safetensors"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.touch()
    assert data_finding(**cifar) == ("ok", "prepared in results/quickstart/data")


def test_class_folders_are_compared_with_the_scenario(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("ant", "bee", "cat"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
    data = {"dataset": "image_folder", "archive": str(tmp_path / "images")}
    check_given_files(parse_settings(merged(TINY, {"data": data, "scenario": {"tasks": [2, 1]}}), "test"))
    settings = parse_settings(merged(TINY, {"data": data, "scenario": {"tasks": [2, 2]}}), "test")
    with pytest.raises(GeniferError, match="add up to 4 classes, but the data set has 3"):
        check_given_files(settings)


def test_a_pretrained_classifier_of_a_variant(tmp_path: Path) -> None:
    missing = str(tmp_path / "classifier.safetensors")
    variants = {"genifer": {}, "warm": {"method": "finetune", "classifier": {"pretrained": missing}}}
    settings = parse_settings(merged(TINY, {"methods": variants}), "test")
    with pytest.raises(GeniferError, match=r"methods\.warm: classifier\.pretrained: .* does not exist"):
        check_given_files(settings)


def test_what_a_pretrained_classifier_may_be(tmp_path: Path) -> None:
    block = {"width": 64, "pretrained": str(tmp_path / "missing.pth")}
    settings = parse_settings(merged(TINY, {"data": {"channels": 3}, "classifier": block}), "test")
    with pytest.raises(GeniferError, match=r"missing\.pth does not exist; .*\.pth.* or imagenet to download"):
        check_given_files(settings)
    start = {"task": 0, "classifier": str(tmp_path / "classifier.safetensors")}
    with pytest.raises(GeniferError, match=r"start\.classifier: .* give the path of a checkpoint, relative"):
        check_given_files(parse_settings(merged(TINY, {"start": start}), "test"))


def test_weights_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(URLS, "resnet18", "http://127.0.0.1:9/resnet18-01234567.pth")
    pretrained = {"data": {"channels": 3}, "classifier": {"width": 64, "pretrained": "imagenet"}}
    settings = parse_settings(merged(TINY, pretrained), "test")
    check_given_files(settings)
    with pytest.raises(GeniferError, match=r"cannot be reached.*set classifier\.pretrained"):
        _weights(settings)
    path = tmp_path / "results/downloads/imagenet/resnet18-01234567.pth"
    path.parent.mkdir(parents=True)
    path.touch()
    assert _weights(settings).verdict == "ok"
