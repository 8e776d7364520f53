from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.data_files import cub200_files, load, pack, prepare

from genifer.errors import GeniferError

SCENARIO = {"tasks": [150, 50], "class_order": "sorted"}


def data(archive: Path, **changes: Any) -> dict[str, Any]:
    return {"dataset": "cub200", "archive": archive, "archive_md5": None, "image_size": 16} | changes


def test_images_labels_and_names(tmp_path: Path) -> None:
    pack(tmp_path / "small.tgz", cub200_files())
    prepare(tmp_path / "out", data(tmp_path / "small.tgz"), SCENARIO)
    for split in ("train", "test"):
        read = load(tmp_path / "out", 1, split)
        assert read.images.shape == (50, 3, 16, 16)
        assert read.labels.tolist() == list(range(150, 200))
        assert read.class_names[150] == "151.Bird_150"
        # The white margins of upright and broad images are cut off.
        inside = read.images[..., 1:-1, 1:-1].float()
        assert (inside - read.labels.view(-1, 1, 1, 1)).abs().max() <= 8


def without(name: str) -> Mapping[str, bytes]:
    return {key: content for key, content in cub200_files().items() if key != f"CUB_200_2011/{name}"}


def with_table(name: str, content: str) -> Mapping[str, bytes]:
    return cub200_files() | {f"CUB_200_2011/{name}.txt": content.encode()}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (without("train_test_split.txt"), "has no file 'CUB_200_2011/train_test_split.txt'"),
        (without("classes.txt"), "has no file 'CUB_200_2011/classes.txt'"),
        (without("images/007.Bird_6/Bird_13.jpg"), "has no file .*Bird_13.jpg"),
        (with_table("train_test_split", "1 1\n"), "list different images"),
        (
            with_table("classes", "1 001.Bird_0\n"),
            "is of class '2', which is not in the archive.s list of classes",
        ),
        (with_table("image_class_labels", "1\n"), "line 1 of .*image_class_labels.txt has 1 columns"),
    ],
    ids=["no split", "no classes", "no image", "other images", "unknown class", "columns"],
)
def test_another_layout_is_refused(tmp_path: Path, changed: Mapping[str, bytes], words: str) -> None:
    pack(tmp_path / "small.tgz", changed)
    with pytest.raises(GeniferError, match=rf"data\.archive: .*small\.tgz.*{words}"):
        prepare(tmp_path / "out", data(tmp_path / "small.tgz"), SCENARIO)
    assert not (tmp_path / "out").exists()


def test_a_table_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(cub200_files(1)["CUB_200_2011/images/001.Bird_0/Bird_1.jpg"])
    lines = cub200_files()["CUB_200_2011/images.txt"].decode().splitlines()
    lines[0] = "1 " + "../" * 20 + str(outside).lstrip("/")
    pack(tmp_path / "small.tgz", with_table("images", "\n".join(lines)))
    with pytest.raises(GeniferError, match=r"has no file .*outside\.jpg"):
        prepare(tmp_path / "out", data(tmp_path / "small.tgz"), SCENARIO)
