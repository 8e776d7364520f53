"""Made-up data sets, and their preparation without the workflow."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image

from genifer.data.batches import TaskData, load_task_data
from genifer.data.prepare import prepare_data
from genifer.run_file import parse_settings

DIGITS: dict[str, Any] = {"dataset": "digits", "image_size": 8, "channels": 1}


def prepare(
    output: Path,
    data: Mapping[str, Any],
    scenario: Mapping[str, Any],
    plugins: Sequence[Path] = (),
    downloaded: Path | None = None,
) -> None:
    """Prepare data as the job does, from blocks of a run file."""
    content = {"plugins": [*map(str, plugins)], "data": data, "scenario": scenario}
    settings = parse_settings(content, source="run.yaml")
    dataset = settings.registry.dataset(settings.data.dataset)
    prepare_data(dataset, settings.data, settings.scenario, downloaded, output)


def load(folder: Path, task: int, split: str = "train") -> TaskData:
    """Read a prepared file."""
    return load_task_data([folder / f"task_{task}_{split}.safetensors"], torch.device("cpu"))


def write_class_folders(root: Path, classes: Sequence[str], per_class: int = 3, side: int = 11) -> None:
    """Write train/<class>/<number>.png and test/... with images in the colour of their class."""
    for split in ("train", "test"):
        for index, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                color = (20 * index + 10, 200, 10 * number)
                Image.new("RGB", (side + number, side), color).save(folder / f"{number}.png")


def write_cifar100(path: Path, n_train: int = 200, n_test: int = 100, classes: int = 100) -> str:
    """Write a small archive in CIFAR-100's format, and what it holds beside it; return its MD5."""
    rng = np.random.RandomState(0)
    source = path.parent / "cifar-100-python"
    source.mkdir()
    for split, n in (("train", n_train), ("test", n_test)):
        labels = [i % classes for i in range(n)]
        data = rng.randint(0, 256, (n, 3072), dtype=np.uint8)
        with (source / split).open("wb") as file:
            pickle.dump({"data": data, "fine_labels": labels, "coarse_labels": labels}, file)
    names = [f"class{i}" for i in range(classes)]
    (source / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": []}))
    with tarfile.open(path, "w:gz") as tar:
        tar.add(source, "cifar-100-python")
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar10(path: Path, per_batch: int = 20) -> str:
    """Write a small archive in CIFAR-10's format, and what it holds beside it; return its MD5."""
    rng = np.random.RandomState(0)
    source = path.parent / "cifar-10-batches-py"
    source.mkdir()
    for batch in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        labels = [i % 10 for i in range(per_batch)]
        data = rng.randint(0, 256, (per_batch, 3072), dtype=np.uint8)
        content = {b"batch_label": b"", b"labels": labels, b"data": data, b"filenames": []}
        (source / batch).write_bytes(pickle.dumps(content))
    names = [f"class{i}".encode() for i in range(10)]
    (source / "batches.meta").write_bytes(pickle.dumps({b"label_names": names, b"num_vis": 3072}))
    with tarfile.open(path, "w:gz") as tar:
        tar.add(source, source.name)
    return hashlib.md5(path.read_bytes()).hexdigest()


@cache
def jpeg(color: tuple[int, ...], size: tuple[int, int], mode: str = "RGB") -> bytes:
    """The file of an image of one colour."""
    file = io.BytesIO()
    Image.new(mode, size, color if mode == "RGB" else color[0]).save(file, "JPEG", quality=95)
    return file.getvalue()


@cache
def tiny_imagenet_files(classes: int = 200) -> Mapping[str, bytes]:
    """The files of a small Tiny ImageNet: two training images per class, the second one grey, and a test image.

    Pixels are as bright as their class's number; test images are listed in the opposite order.
    """
    names = [f"n{10_000_000 + index}" for index in range(classes)]
    files = {"wnids.txt": "".join(f"{name}\n" for name in reversed(names)).encode()}
    annotations = []
    for index, name in enumerate(names):
        boxes = f"{name}_0.JPEG\t0\t0\t63\t63\n{name}_1.JPEG\t0\t0\t63\t63\n"
        files[f"train/{name}/{name}_boxes.txt"] = boxes.encode()
        for number, mode in enumerate(("RGB", "L")):
            files[f"train/{name}/images/{name}_{number}.JPEG"] = jpeg((index,) * 3, (64, 64), mode)
        files[f"val/images/val_{index}.JPEG"] = jpeg((index,) * 3, (64, 64))
        annotations.append(f"val_{index}.JPEG\t{name}\t0\t32\t44\t62\n")
    files["val/val_annotations.txt"] = "".join(reversed(annotations)).encode()
    files["test/images/test_0.JPEG"] = jpeg((0, 0, 0), (64, 64))
    return MappingProxyType({f"tiny-imagenet-200/{name}": content for name, content in files.items()})


@cache
def cub200_files(classes: int = 200) -> Mapping[str, bytes]:
    """The files of a small CUB-200-2011: per class a training image, upright, and a test image, broad.

    Their middles are as bright as their class's number, their margins white.
    """
    images, labels, split, names = "", "", "", ""
    files: dict[str, bytes] = {}
    for index in range(classes):
        name = f"{index + 1:03}.Bird_{index}"
        names += f"{index + 1} {name}\n"
        for number, size in enumerate(((40, 80), (90, 40))):
            key = 2 * index + number + 1
            pixels = np.full((size[1], size[0]), 255, dtype=np.uint8)
            top, left = (size[1] - 40) // 2, (size[0] - 40) // 2
            pixels[top : top + 40, left : left + 40] = index
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=95)
            files[f"images/{name}/Bird_{key}.jpg"] = file.getvalue()
            images += f"{key} {name}/Bird_{key}.jpg\n"
            labels += f"{key} {index + 1}\n"
            split += f"{key} {1 - number}\n"
    tables = {
        "classes.txt": names,
        "images.txt": images,
        "image_class_labels.txt": labels,
        "train_test_split.txt": split,
    }
    files |= {name: content.encode() for name, content in tables.items()}
    return MappingProxyType({f"CUB_200_2011/{name}": content for name, content in files.items()})


def pack(path: Path, files: Mapping[str, bytes]) -> None:
    """Pack files as .zip, or as a compressed tar archive."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_npz(path: Path, side: int = 28, **changes: np.ndarray) -> None:
    """Write MedMNIST's layout: five classes of twelve training images, as bright as their class's number."""
    labels = np.repeat(np.arange(5, dtype=np.uint8), 12)
    images = np.broadcast_to((10 * labels)[:, None, None, None], (60, side, side, 3))
    arrays = {
        "train_images": images,
        "train_labels": labels[:, None],
        "test_images": images[::3],
        "test_labels": labels[::3, None],
    }
    np.savez(path, **(arrays | changes))
