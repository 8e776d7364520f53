from __future__ import annotations

import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from support.data_files import load, prepare, write_cifar10

from genifer.errors import GeniferError

SCENARIO = {"tasks": [6, 4], "class_order": "sorted"}


def test_images_labels_and_names(tmp_path: Path) -> None:
    md5 = write_cifar10(tmp_path / "small.tar.gz")
    data = {"dataset": "cifar10", "archive": tmp_path / "small.tar.gz", "archive_md5": md5}
    prepare(tmp_path / "out", data, SCENARIO)
    train, test = (load(tmp_path / "out", 1, split) for split in ("train", "test"))
    assert train.images.shape == (40, 3, 32, 32)
    assert test.images.shape == (8, 3, 32, 32)
    assert train.labels.tolist() == [label for label in range(6, 10) for _ in range(10)]
    assert train.class_names[6] == "class6"
    assert train.mean == (0.491, 0.482, 0.447)
    # Of class 6: two images in each of the five batches, in their order.
    for batch, images in zip(range(1, 6), train.images[:10].split(2), strict=True):
        content = pickle.loads((tmp_path / "cifar-10-batches-py" / f"data_batch_{batch}").read_bytes())
        assert np.array_equal(images.numpy().reshape(2, -1), content[b"data"][6::10])


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_cifar10(tmp_path / "small.tar.gz")
    (tmp_path / "cifar-10-batches-py" / name).unlink()
    with tarfile.open(tmp_path / "small.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    data = {"dataset": "cifar10", "archive": tmp_path / "small.tar.gz", "archive_md5": None}
    with pytest.raises(GeniferError, match=rf"small\.tar\.gz has no file 'cifar-10-batches-py/{name}'.*null"):
        prepare(tmp_path / "out", data, SCENARIO)
    assert not (tmp_path / "out").exists()


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'evil'}",)

    write_cifar10(tmp_path / "evil.tar.gz")
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": Evil()}))
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    data = {"dataset": "cifar10", "archive": tmp_path / "evil.tar.gz", "archive_md5": None}
    with pytest.raises(GeniferError, match=r"would run (posix|nt)\.system"):
        prepare(tmp_path / "out", data, SCENARIO)
    assert not (tmp_path / "evil").exists()
