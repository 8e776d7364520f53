from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.data_files import load, pack, prepare, tiny_imagenet_files

from genifer.errors import GeniferError

SCENARIO = {"tasks": [150, 50], "class_order": "sorted"}
ANNOTATIONS = "tiny-imagenet-200/val/val_annotations.txt"


def data(archive: Path, **changes: Any) -> dict[str, Any]:
    return {"dataset": "tiny_imagenet", "archive": archive, "archive_md5": None, "image_size": 8} | changes


@pytest.fixture
def files() -> Mapping[str, bytes]:
    return tiny_imagenet_files()


def test_images_labels_and_names(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    pack(tmp_path / "small.zip", files)
    prepare(tmp_path / "out", data(tmp_path / "small.zip"), SCENARIO)
    train, test = (load(tmp_path / "out", 1, split) for split in ("train", "test"))
    assert train.images.shape == (100, 3, 8, 8)
    assert train.class_names[150] == "n10000150"
    assert train.labels.tolist() == [label for label in range(150, 200) for _ in range(2)]
    assert test.labels.tolist() == list(range(150, 200))
    # Grey images have become RGB, and each image is as bright as its class's number.
    for split in (train, test):
        difference = split.images.float() - split.labels.view(-1, 1, 1, 1)
        assert difference.abs().max() <= 2


def without(name: str) -> Mapping[str, bytes]:
    return {key: content for key, content in tiny_imagenet_files().items() if key != name}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (without(ANNOTATIONS), "has no file 'tiny-imagenet-200/val/val_annotations.txt'.*data.archive: null"),
        (without("tiny-imagenet-200/wnids.txt"), "has no file 'tiny-imagenet-200/wnids.txt'"),
        (without("tiny-imagenet-200/val/images/val_7.JPEG"), "has no file .*val_7.JPEG"),
        (
            {name: content for name, content in tiny_imagenet_files().items() if "train/n10000003/images" not in name},
            r"has no file 'tiny-imagenet-200/train/n10000003/images/\*\.JPEG'",
        ),
        (tiny_imagenet_files() | {ANNOTATIONS: b"val_0.JPEG\n"}, "line 1 of .*val_annotations.txt has 1 columns"),
        (tiny_imagenet_files() | {ANNOTATIONS: b""}, "val_annotations.txt is empty"),
        (tiny_imagenet_files() | {ANNOTATIONS: b"val_0.JPEG\tcat\n"}, "val_0.JPEG is of class 'cat'"),
        (
            tiny_imagenet_files() | {"tiny-imagenet-200/val/images/val_7.JPEG": b"no image"},
            r"do not decode: 1, but data.max_bad_images: 0(.|\n)*val_7.JPEG",
        ),
        ({f"other/{name}": content for name, content in tiny_imagenet_files(2).items()}, "has no file"),
    ],
    ids=["no annotations", "no wnids", "no test image", "no images of a class", "columns", "empty", "class", "damaged", "folder"],
)  # fmt: skip
def test_another_layout_is_refused(tmp_path: Path, changed: Mapping[str, bytes], words: str) -> None:
    pack(tmp_path / "small.zip", changed)
    with pytest.raises(GeniferError, match=rf"data\.archive: .*small\.zip(.|\n)*{words}"):
        prepare(tmp_path / "out", data(tmp_path / "small.zip"), SCENARIO)
    assert not (tmp_path / "out").exists()


def test_damaged_images_up_to_the_limit_are_skipped(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    damaged = {"tiny-imagenet-200/train/n10000199/images/n10000199_0.JPEG": b"no image"}
    pack(tmp_path / "small.zip", files | damaged)
    prepare(tmp_path / "out", data(tmp_path / "small.zip", max_bad_images=1), SCENARIO)
    assert len(load(tmp_path / "out", 1).labels) == 99
