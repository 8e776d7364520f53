from __future__ import annotations

import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from support.data_files import load, prepare, write_cifar100

from genifer.errors import GeniferError


def test_images_labels_and_names(tmp_path: Path) -> None:
    archive = tmp_path / "small.tar.gz"
    md5 = write_cifar100(archive)
    prepare(tmp_path / "out", {"archive": archive, "archive_md5": md5}, {})
    last = load(tmp_path / "out", 5)
    assert last.images.shape == (20, 3, 32, 32)
    assert last.labels.unique().tolist() == list(range(90, 100))
    assert last.class_names[0] == "class68"
    assert last.mean == (0.507, 0.487, 0.441)
    with (tmp_path / "cifar-100-python" / "train").open("rb") as file:
        pixels = pickle.load(file)["data"][68].reshape(3, 32, 32)
    assert np.array_equal(load(tmp_path / "out", 0).images[0].numpy(), pixels)


def test_a_given_archive_takes_precedence_over_the_download(tmp_path: Path) -> None:
    md5 = write_cifar100(tmp_path / "small.tar.gz")
    other = {"archive": tmp_path / "small.tar.gz", "archive_md5": md5}
    prepare(tmp_path / "a", other, {}, downloaded=tmp_path / "nowhere")
    prepare(tmp_path / "b", {"archive_md5": md5}, {}, downloaded=tmp_path / "small.tar.gz")
    assert load(tmp_path / "a", 0).images.equal(load(tmp_path / "b", 0).images)


@pytest.mark.parametrize("damage", ["other_md5", "truncated", "missing", "folder", "labels"])
def test_damaged_archives_are_refused(tmp_path: Path, damage: str) -> None:
    archive = tmp_path / "small.tar.gz"
    data: dict[str, object] = {"archive": archive, "archive_md5": None}
    write_cifar100(archive, classes=99 if damage == "labels" else 100)
    match damage:
        case "other_md5":
            del data["archive_md5"]
        case "truncated":
            archive.write_bytes(archive.read_bytes()[:-1000])
        case "missing":
            archive.unlink()
        case "folder":
            archive.unlink()
            archive.mkdir()
        case "labels":
            meta = {"fine_label_names": [f"class{i}" for i in range(98)]}
            (tmp_path / "cifar-100-python" / "meta").write_bytes(pickle.dumps(meta))
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(tmp_path / "cifar-100-python", "cifar-100-python")
    with pytest.raises(GeniferError, match=r"data\..*small\.tar\.gz"):
        prepare(tmp_path / "out", data, {})
    assert not (tmp_path / "out").exists()


def test_nothing_downloaded(tmp_path: Path) -> None:
    with pytest.raises(GeniferError, match=r"genifer download-data.*cifar-100-python\.tar\.gz"):
        prepare(tmp_path / "out", {}, {})


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'evil'}",)

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(pickle.dumps({"data": Evil()}))
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    with pytest.raises(GeniferError, match=r"would run (posix|nt)\.system"):
        prepare(tmp_path / "out", {"archive": tmp_path / "evil.tar.gz", "archive_md5": None}, {})
    assert not (tmp_path / "evil").exists()
