from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.data_files import DIGITS, load, prepare, write_class_folders

from genifer.errors import GeniferError


def test_normalisation_comes_from_the_first_task(tmp_path: Path) -> None:
    prepare(tmp_path, DIGITS, {"tasks": [5, 5], "class_order": "sorted"})
    first = load(tmp_path, 0)
    values = first.images.double() / 255
    assert first.mean[0] == pytest.approx(values.mean().item(), abs=1e-4)
    assert first.std[0] == pytest.approx(values.std(correction=0).item(), abs=1e-4)
    assert load(tmp_path, 1).mean == first.mean


def test_validation_images_are_kept_apart(tmp_path: Path) -> None:
    scenario = {"tasks": [10], "class_order": "sorted"}
    prepare(tmp_path / "all", DIGITS, scenario)
    prepare(tmp_path / "split", DIGITS | {"validation_fraction": 0.2}, scenario)
    everything = load(tmp_path / "all", 0)
    train, validation = load(tmp_path / "split", 0), load(tmp_path / "split", 0, "validation")
    assert len(train.labels) + len(validation.labels) == len(everything.labels)
    for label in range(10):
        n = int((everything.labels == label).sum())
        assert int((validation.labels == label).sum()) == n // 5
    rows = {bytes(image.numpy().tobytes()) for image in train.images}
    assert not rows & {bytes(image.numpy().tobytes()) for image in validation.images}
    assert torch.equal(load(tmp_path / "split", 0, "test").images, load(tmp_path / "all", 0, "test").images)


def test_a_class_too_small_to_split_is_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "photos", ["ant", "bee"])
    data = {"dataset": "image_folder", "archive": tmp_path / "photos", "validation_fraction": 0.1}
    with pytest.raises(GeniferError, match=r"class 'ant' has no image in the validation split"):
        prepare(tmp_path / "out", data, {"tasks": [1, 1], "class_order": "sorted"})
    assert not (tmp_path / "out").exists()


def test_fewer_images_per_class(tmp_path: Path) -> None:
    prepare(tmp_path, DIGITS | {"train_images_per_class": 5}, {"tasks": [10]})
    assert load(tmp_path, 0).labels.bincount().tolist() == [5] * 10
    assert len(load(tmp_path, 0, "test").labels) > 200
