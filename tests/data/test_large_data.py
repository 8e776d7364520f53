"""Preparation of more images than fit into memory: from the disk to the disk, in pieces, in threads."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.data_files import DIGITS, prepare, write_class_folders

from genifer.data import image_files, new_images
from genifer.data.images import to_channels, to_size
from genifer.errors import GeniferError
from genifer.runtime.tensors import InPieces, load_tensors, save_in_pieces, save_tensors

DESCRIPTION: dict[str, Any] = {
    "kind": "data set",
    "class_names": ['é"\\\n', "b\x7f\u2028"],
    "mean": [0.1, 1e-9],
}


@pytest.mark.parametrize("n", [1, 5, 100])
def test_files_written_in_pieces_are_the_same(tmp_path: Path, n: int) -> None:
    rng = torch.Generator().manual_seed(n)
    images = torch.randint(0, 256, (n, 3, 7, 7), generator=rng, dtype=torch.uint8)
    labels = torch.randint(0, 9, (n,), generator=rng)
    save_tensors(tmp_path / "whole", {"images": images, "labels": labels}, DESCRIPTION)
    in_pieces = {
        "images": InPieces(images.dtype, images.shape, iter(images.split(3))),
        "labels": InPieces(labels.dtype, labels.shape, [labels]),
    }
    save_in_pieces(tmp_path / "pieces", in_pieces, DESCRIPTION)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()
    tensors, description = load_tensors(tmp_path / "pieces", "data set")
    assert torch.equal(tensors["images"], images)
    assert description == DESCRIPTION


@pytest.fixture
def as_if_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Every array lies on the disk and is worked on in small pieces; returns the folder of temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(new_images, "IN_MEMORY", 0)
    monkeypatch.setattr(new_images, "PIECE", 500)
    monkeypatch.setattr(image_files, "FILES_AT_ONCE", 4)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize(
    "changes", [{}, {"channels": 1}, {"mean": None, "std": None, "validation_fraction": 0.4}]
)
def test_prepared_files_do_not_depend_on_the_size_of_pieces(
    tmp_path: Path, changes: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    write_class_folders(tmp_path / "photos", ["ant", "bee", "cow"], per_class=5)
    (tmp_path / "photos" / "train" / "bee" / "2.png").write_bytes(b"broken")
    folder = {"dataset": "image_folder", "archive": tmp_path / "photos", "max_bad_images": 1} | changes
    digits = DIGITS | {"channels": 3, "image_size": 16, "mean": None, "std": None}
    for name in ("in_memory", "on_disk"):
        prepare(
            tmp_path / name / "folder",
            folder,
            {"tasks": [1, 2], "class_order": 5},
        )
        prepare(tmp_path / name / "digits", digits, {"tasks": [5, 5]})
        if name == "in_memory":
            request.getfixturevalue("as_if_large")
    for data in ("folder", "digits"):
        before, after = contents(tmp_path / "in_memory" / data), contents(tmp_path / "on_disk" / data)
        assert len(before) >= 4
        assert before == after
    assert not list((tmp_path / "temporary").iterdir())


def test_arrays_on_the_disk_are_converted_alike(as_if_large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (23, 3, 12, 12), dtype=np.uint8)
    on_disk = [to_size(images, 8), to_size(images, 32), to_channels(images, 1), to_size(images[:, :1], 8)]
    on_disk.append(to_channels(images[:, :1], 3))
    assert all(isinstance(array, np.memmap) for array in on_disk)
    assert not list(as_if_large.iterdir())  # the files have no name
    monkeypatch.setattr(new_images, "IN_MEMORY", 2**30)
    monkeypatch.setattr(new_images, "PIECE", 2**30)
    in_memory = [to_size(images, 8), to_size(images, 32), to_channels(images, 1), to_size(images[:, :1], 8)]
    in_memory.append(to_channels(images[:, :1], 3))
    for one, other in zip(on_disk, in_memory, strict=True):
        assert not isinstance(other, np.memmap)
        assert np.array_equal(one, other)


def test_a_full_disk_is_named(as_if_large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        GeniferError, match=r"temporary has no room for .* \(No space left on device\).*TMPDIR"
    ):
        new_images.new_images((10, 3, 8, 8))
    assert not list(as_if_large.iterdir())


def test_several_threads_decode_and_name_bad_images_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_class_folders(tmp_path / "photos", ["ant"], per_class=30)
    bad = [tmp_path / "photos" / "train" / "ant" / f"{number}.png" for number in (3, 11, 12, 29)]
    for path in bad:
        path.write_bytes(b"broken")
    both = threading.Barrier(2)
    original = image_files._decode

    def decode(file: Path, *arguments: Any) -> Any:
        if file.parent.parent.name == "train":
            both.wait(timeout=30)  # passes only if two threads decode at once
        return original(file, *arguments)

    monkeypatch.setattr(image_files, "cpus", lambda: 2)
    monkeypatch.setattr(image_files, "_decode", decode)
    data = {"dataset": "image_folder", "archive": tmp_path / "photos", "max_bad_images": 4}
    prepare(tmp_path / "out", data, {"tasks": [1]})
    named = [record.message for record in caplog.records if "does not decode" in record.message]
    order = sorted(path.name for path in bad)
    assert [next(name for name in order if f"/{name}" in message) for message in named] == order
    # The others are in the order of their names.
    kept = sorted({f"{number}.png" for number in range(30)} - set(order))
    tensors, _ = load_tensors(tmp_path / "out" / "task_0_train.safetensors", "data set")
    expected = [min(255, 10 * int(Path(name).stem)) for name in kept]
    assert tensors["images"][:, 2, 3, 3].tolist() == expected
