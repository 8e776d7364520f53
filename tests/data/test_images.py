from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genifer.data import Arrays
from genifer.data.images import check_arrays, to_channels, to_size

IMAGES = np.zeros((4, 1, 8, 8), dtype=np.uint8)
LABELS = np.array([0, 1, 1, 0])


def arrays(**changes: Any) -> Arrays:
    return Arrays(**({"class_names": ["a", "b"], "train_images": IMAGES, "train_labels": LABELS,
                      "test_images": IMAGES, "test_labels": LABELS} | changes))  # fmt: skip


def test_arrays_that_fit() -> None:
    assert check_arrays(arrays()) == arrays()
    check_arrays(arrays(test_labels=LABELS.astype(np.uint8), test_images=IMAGES.repeat(3, axis=1)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": []}, r"class names \[\]"),
        ({"class_names": None}, "class names None"),
        ({"class_names": "ab"}, "class names 'ab'"),
        ({"class_names": [0, 1]}, r"class names \[0, 1\]"),
        ({"class_names": ["a", "a"]}, "all different"),
        ({"train_images": IMAGES.astype(np.float32)}, r"train_images as an array of float32 with the shape \(4, 1, 8, 8\)"),
        ({"train_images": IMAGES[0]}, r"shape \(1, 8, 8\)"),
        ({"train_images": IMAGES[:, :, :7]}, r"shape \(4, 1, 7, 8\)"),
        ({"test_images": IMAGES.transpose(0, 2, 3, 1)}, r"test_images.*shape \(4, 8, 8, 1\)"),
        ({"test_images": IMAGES[:0]}, r"shape \(0, 1, 8, 8\)"),
        ({"test_images": IMAGES.tolist()}, "test_images as a list"),
        ({"train_labels": LABELS[:, None]}, r"train_labels.*shape \(4, 1\).*shape \(4,\)"),
        ({"train_labels": LABELS[1:]}, r"shape \(3,\)"),
        ({"train_labels": LABELS / 2}, "train_labels as an array of float64"),
        ({"test_labels": LABELS + 1}, "test_labels from 1 to 2; with 2 class names, labels must be 0 to 1"),
        ({"test_labels": LABELS - 1}, "from -1 to 0"),
        ({"test_labels": None}, "test_labels as a NoneType"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_described(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_arrays(arrays(**changes))


def test_anything_but_arrays() -> None:
    with pytest.raises(ValueError, match=r"a tuple; it must return genifer\.data\.Arrays"):
        check_arrays((IMAGES, LABELS))


def test_channels() -> None:
    rgb = to_channels(IMAGES + 7, 3)
    assert rgb.shape == (4, 3, 8, 8)
    assert np.array_equal(to_channels(rgb, 1), IMAGES + 7)
    assert to_channels(rgb, 3) is rgb


@pytest.mark.parametrize("size", [4, 8, 16])
def test_size(size: int) -> None:
    ramp = np.broadcast_to(np.arange(0, 256, 32, dtype=np.uint8), (2, 3, 8, 8)).copy()
    resized = to_size(ramp, size)
    assert resized.shape == (2, 3, size, size)
    assert resized.dtype == np.uint8
    assert (np.diff(resized[0, 0, 0].astype(int)) >= 0).all()
    assert abs(resized.mean() - ramp.mean()) < 1
