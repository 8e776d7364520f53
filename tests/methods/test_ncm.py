"""Nearest class mean, against means and distances computed by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from support.commands import TINY, merged
from support.in_process import genifer

from genifer.config import registry_of
from genifer.data.batches import load_task_data
from genifer.training.checkpoints import load_predictor

CPU = torch.device("cpu")


def test_nearest_class_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_of([])
    monkeypatch.chdir(tmp_path)
    settings = merged(TINY, {"scenario": {"tasks": [4, 6]}, "methods": ["ncm"]})
    Path("run.yaml").write_text(yaml.safe_dump(settings))
    config = ["--config", "run.yaml"]
    assert genifer("prepare-data", *config, "--output", "data") == 0
    data = [f"data/task_{task}_train.safetensors" for task in range(2)]
    assert genifer("pretrain-classifier", *config, "--output", "first", data[0]) == 0
    before = "first/classifier.safetensors"
    for task in range(2):
        output = f"task_{task}"
        given = ["--old-classifier", before, "--output", output, data[task]]
        assert genifer("train", "ncm", *config, *given) == 0
        before = f"{output}/classifier.safetensors"
    trained, predictor = load_predictor(Path(before), CPU, registry)
    first = load_predictor(Path("first/classifier.safetensors"), CPU, registry)[0]
    features = [
        first.network.eval().features(trained.normalization(task.images), 6)
        for task in (load_task_data([Path(path)], CPU) for path in data)
    ]
    labels = [load_task_data([Path(path)], CPU).labels for path in data]
    means = torch.stack([torch.cat(features)[torch.cat(labels) == label].mean(0) for label in range(10)])
    assert torch.allclose(predictor.memory["means"], means, atol=1e-4)

    test = load_task_data([Path(f"data/task_{task}_test.safetensors") for task in range(2)], CPU)
    nearest = torch.cdist(first.network.features(trained.normalization(test.images), 6), means).argmin(1)
    shown = ["--method", "ncm", "--classifier", before, "--output", "accuracy"]
    tests = [f"data/task_{task}_test.safetensors" for task in range(2)]
    assert genifer("evaluate", *config, *shown, *tests) == 0
    table = pd.read_csv("accuracy/accuracy.csv")
    assert table["n_correct"].sum() == int((nearest == test.labels).sum())
    assert table["accuracy"].min() > 0.1
