from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from support.data_files import DIGITS, load, prepare


def test_every_image_is_in_one_file(tmp_path: Path) -> None:
    prepare(tmp_path, DIGITS, {"tasks": [4, 3, 3], "class_order": 7})
    order = [int(c) for c in np.random.RandomState(7).permutation(10)]
    total = 0
    for task, labels in enumerate(([0, 1, 2, 3], [4, 5, 6], [7, 8, 9])):
        train, test = load(tmp_path, task), load(tmp_path, task, "test")
        assert train.images.dtype == torch.uint8
        assert train.images.shape[1:] == (1, 8, 8)
        assert train.labels.unique().tolist() == test.labels.unique().tolist() == labels
        assert [train.class_names[label] for label in labels] == [str(order[label]) for label in labels]
        assert (train.n_old, train.n_new, train.n_classes) == (labels[0], len(labels), 10)
        total += len(train.labels) + len(test.labels)
    assert total == 1797


def test_the_split_stays_what_it_was(tmp_path: Path) -> None:
    prepare(tmp_path, DIGITS, {"tasks": [10], "class_order": "sorted"})
    for split, n, total in (("train", 1501, 7_474_308), ("test", 296, 1_479_493)):
        images = load(tmp_path, 0, split).images
        assert len(images) == n
        assert int(images.long().sum()) == total
