"""Images and labels in one .npz file, in the layout of MedMNIST (Yang et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from genifer.config import DataSettings
from genifer.data import Arrays, Dataset


class Npz(Dataset):
    """Images and labels in one .npz file."""

    name = "npz"
    archive = "required"
    archive_format = "a .npz file with train_images, train_labels, test_images and test_labels"

    @classmethod
    def load(cls, archive: Path, settings: DataSettings) -> Arrays:
        """Read the arrays. Classes are named after their numbers, from 0."""
        with np.load(archive, allow_pickle=False) as file:
            train_images, train_labels = read_split(file, "train")
            test_images, test_labels = read_split(file, "test")
        class_names = [str(number) for number in np.unique(train_labels)]
        return Arrays(class_names, train_images, train_labels, test_images, test_labels)


def read_split(file: Mapping[str, np.ndarray], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, channels, size, size) and labels (n,); the file has channels last, or none."""
    images, labels = file[f"{split}_images"], file[f"{split}_labels"]
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return images, labels.ravel()
