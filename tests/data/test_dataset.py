"""The contract of data sets, and the example of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.commands import ROOT
from support.data_files import load, prepare, write_npz

from genifer.data import Dataset
from genifer.errors import GeniferError

EXAMPLE = ROOT / "docs" / "examples" / "npz_dataset.py"
SCENARIO = {"tasks": [2, 3], "class_order": "sorted"}


def test_the_registry_imports_no_slow_package() -> None:
    program = """
import sys
from genifer.registry import registry
registry()
print([name for name in ("numpy", "PIL", "sklearn", "torch", "torchvision") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/files/cells.npz?download=1", "cells.npz"),
        ("https://example.org/cells.tar.gz", "cells.tar.gz"),
        ("https://example.org/latest/", "cells"),
    ],
)
def test_download_name(url: str, name: str) -> None:
    assert type("Cells", (Dataset,), {"name": "cells", "url": url}).download_name() == name


@pytest.mark.parametrize("grey", [False, True])
def test_each_task_of_the_example_holds_its_classes(tmp_path: Path, grey: bool) -> None:
    write_npz(tmp_path / "cells.npz")
    if grey:
        rgb = np.load(tmp_path / "cells.npz")
        write_npz(
            tmp_path / "cells.npz", **{name: rgb[name][..., 0] for name in ("train_images", "test_images")}
        )
    data = {"dataset": "npz", "archive": tmp_path / "cells.npz"}
    prepare(tmp_path, data, SCENARIO, [EXAMPLE])
    for task, classes in ((0, [0, 1]), (1, [2, 3, 4])):
        for split, per_class in (("train", 12), ("test", 4)):
            of_task = load(tmp_path, task, split)
            assert of_task.images.shape == (len(classes) * per_class, 3, 32, 32)
            assert (of_task.images == 10 * of_task.labels[:, None, None, None]).all()
            assert of_task.labels.unique().tolist() == classes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": np.zeros((60, 8, 8), dtype=np.float32)}, "train_images as an array of float32"),
        ({"train_labels": np.zeros(59, dtype=np.int64)}, r"train_labels .* shape \(59,\)"),
        ({"test_images": np.zeros((20, 8, 9), dtype=np.uint8)}, r"shape \(20, 1, 8, 9\)"),
        ({"test_labels": np.full(20, "code", dtype=object)}, "allow_pickle=False"),
    ],
)
def test_arrays_that_the_example_refuses(tmp_path: Path, changes: dict[str, np.ndarray], words: str) -> None:
    write_npz(tmp_path / "cells.npz", **changes)
    data = {"dataset": "npz", "archive": tmp_path / "cells.npz"}
    with pytest.raises(GeniferError, match=words) as error:
        prepare(tmp_path / "out", data, SCENARIO, [EXAMPLE])
    assert "cells.npz" in str(error.value)
    assert "npz_dataset.py" in str(error.value)
