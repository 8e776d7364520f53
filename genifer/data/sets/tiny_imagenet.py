"""Tiny ImageNet (Stanford CS231n)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genifer.data.archives import missing_file, unpacked
from genifer.data.dataset import Arrays, Dataset

if TYPE_CHECKING:
    from genifer.config import DataSettings

ROOT = "tiny-imagenet-200"


class TinyImagenet(Dataset):
    """Photographs of 200 ImageNet classes, 64 x 64 pixels; downloaded."""

    name = "tiny_imagenet"
    version = 1
    classes = 200
    images = 110_000
    archive = "download"
    archive_format = "tiny-imagenet-200.zip"
    url = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    md5 = "90528d7ca1a48142e341f4ef8d21d0de"

    @classmethod
    def load(cls, archive: Path, settings: DataSettings) -> Arrays:
        """Decode the images of train/ for training and of val/ for testing.

        The labels of test/ are not published. Classes are named by their WordNet ids and sorted by them.
        """
        from genifer.data.listed_images import ListedImages

        with unpacked(archive, settings.max_unpacked_gb) as folder:
            files = ListedImages(folder, archive, settings)
            names = sorted(name for (name,) in files.table(f"{ROOT}/wnids.txt", columns=1))
            classes = {name: label for label, name in enumerate(names)}
            train: list[tuple[str, str]] = []
            for name in names:
                place = f"{ROOT}/train/{name}/images"
                found = sorted(path.name for path in (folder / place).glob("*.JPEG"))
                if not found:
                    raise missing_file(archive, f"{place}/*.JPEG")
                train += [(f"{place}/{file}", name) for file in found]
            annotations = files.table(f"{ROOT}/val/val_annotations.txt", columns=2)
            test = [(f"{ROOT}/val/images/{file}", name) for file, name in annotations]
            arrays = Arrays(names, *files.read(train, classes), *files.read(test, classes))
            files.bad.check()
        return arrays
