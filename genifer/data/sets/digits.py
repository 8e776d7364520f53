"""Handwritten digits (scikit-learn), a data set for quick tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genifer.data.dataset import Arrays, Dataset

if TYPE_CHECKING:
    from genifer.config import DataSettings

TEST_EVERY = 6
"""Every sixth image of each class is a test image."""


class Digits(Dataset):
    """1,797 handwritten digits, 8 x 8 pixels, grey; bundled with scikit-learn."""

    name = "digits"
    version = 1
    classes = 10
    images = 1_797
    channels = 1

    @classmethod
    def load(cls, archive: Path | None, settings: DataSettings) -> Arrays:  # noqa: ARG003
        """Read the digits, and reserve every sixth image of each class for testing."""
        import numpy as np
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = digits.target.astype(np.int64)
        test = np.zeros(len(labels), dtype=bool)
        for label in range(cls.classes):
            test[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
        names = [str(name) for name in digits.target_names]
        return Arrays(names, images[~test], labels[~test], images[test], labels[test])
