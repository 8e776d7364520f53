"""Caltech-UCSD Birds 200-2011 (Wah et al., 2011)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genifer.data.archives import unpacked
from genifer.data.dataset import Arrays, Dataset
from genifer.errors import GeniferError

if TYPE_CHECKING:
    from genifer.config import DataSettings

ROOT = "CUB_200_2011"


class Cub200(Dataset):
    """Photographs of 200 bird species, in various sizes; downloaded."""

    name = "cub200"
    version = 1
    classes = 200
    images = 11_788
    archive = "download"
    archive_format = "CUB_200_2011.tgz"
    url = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
    md5 = "97eceeb196236b17998738112f37df78"

    @classmethod
    def load(cls, archive: Path, settings: DataSettings) -> Arrays:
        """Decode the images in the publisher's split, cropped to squares around their centres."""
        from genifer.data.listed_images import ListedImages

        with unpacked(archive, settings.max_unpacked_gb) as folder:
            files = ListedImages(folder, archive, settings)
            of_number, images, class_of, in_training = (
                dict(files.table(f"{ROOT}/{name}.txt", columns=2))
                for name in ("classes", "images", "image_class_labels", "train_test_split")
            )
            if not set(images) == set(class_of) == set(in_training):
                raise GeniferError(
                    f"data.archive: {archive}: images.txt, image_class_labels.txt and train_test_split.txt "
                    "list different images; copy or download it again"
                )
            labels = {number: label for label, number in enumerate(of_number)}
            train, test = (
                files.read(
                    [
                        (f"{ROOT}/images/{name}", class_of[key])
                        for key, name in images.items()
                        if in_training[key] == split
                    ],
                    labels,
                    crop=True,
                )
                for split in ("1", "0")
            )
            files.bad.check()
        return Arrays(list(of_number.values()), *train, *test)
