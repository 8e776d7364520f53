"""How fast images reach a training: from prepared files, from ImageFolder with a DataLoader, from WebDataset.

``python benchmarks/reading.py --sides 32 64 224`` writes random images of two classes as JPEG files, as
shards of WebDataset and as a prepared file into a temporary folder. Each reader then gives batches of 64
decoded images in random order (WebDataset: from a buffer of 1,000 that it shuffles) to a loop that drops
them. The JPEG files already have the size of the batches, so nothing is resized. ``page cache``: everything
was read just before. ``disk``: the pages of all files were dropped just before, by ``posix_fadvise``.
WebDataset is measured where it can be imported; it is not part of the environment.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from genifer.data import prepared_images
from genifer.data.batches import ShuffledBatches, TaskData
from genifer.data.prepared_images import PreparedImages
from genifer.runtime.tensors import InPieces, save_in_pieces

BATCH = 64
PER_SHARD = 1_000
CPU = torch.device("cpu")


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sides", type=int, nargs="+", default=[32, 64, 224])
    options.add_argument("--images", type=int, default=4_000, help="JPEG files")
    options.add_argument("--megabytes", type=int, default=500, help="size of the prepared file")
    options.add_argument("--seconds", type=float, default=5.0, help="of each measurement, at most")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="of a DataLoader")
    given = options.parse_args()
    print("| side | reader | page cache | disk |\n| --- | --- | --- | --- |")
    for side in given.sides:
        with tempfile.TemporaryDirectory(prefix="genifer-") as folder:
            root = Path(folder)
            readers = {"prepared file": prepared(root, side, given.megabytes)}
            write_jpegs(root, side, given.images)
            readers[f"ImageFolder, {given.workers} workers"] = image_folder(root, given.workers)
            try:
                readers[f"WebDataset, {given.workers} workers"] = web_dataset(root, given.workers)
            except ImportError:
                print(f"| {side} | WebDataset | not installed | |")
            os.sync()  # pages that wait to be written cannot be dropped
            for name, batches in readers.items():
                figures = [measure(root, batches, given, cold) for cold in (False, True)]
                print(f"| {side} | {name} | {' | '.join(figures)} |", flush=True)


def measure(root: Path, batches: Callable[[], Iterator[Any]], given: argparse.Namespace, cold: bool) -> str:
    """Images per second: median, lowest and highest."""
    rates = []
    # From the disk batches are read ahead, as those of large files are.
    prepared_images.LARGE = 0 if cold else 10**18
    for _ in range(given.repeats):
        for path in root.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    if cold:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    else:
                        while file.read(2**24):
                            pass
        count, iterator = 0, batches()
        next(iterator)  # starts workers and threads
        began = time.perf_counter()
        for batch in iterator:
            count += len(batch[0])
            if time.perf_counter() - began > given.seconds:
                break
        rates.append(count / (time.perf_counter() - began))
        del iterator
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def photograph(rng: np.random.Generator, side: int) -> Image.Image:
    """A random image with coarse and fine structure, which compresses about as a photograph does."""
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side), 3)
    noise = rng.normal(0, 12, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))


def prepared(root: Path, side: int, megabytes: int) -> Callable[[], Iterator[Any]]:
    """Write a prepared file; verifying its checksum is not part of the measurement."""
    n = megabytes * 10**6 // (3 * side**2)
    rng = np.random.default_rng(0)
    pieces = (
        torch.from_numpy(rng.integers(0, 256, (min(500, n - start), 3, side, side), dtype=np.uint8))
        for start in range(0, n, 500)
    )
    labels = torch.arange(n) * 2 // n
    path = root / "task_0_train.safetensors"
    tensors = {
        "images": InPieces(torch.uint8, (n, 3, side, side), pieces),
        "labels": InPieces(torch.int64, (n,), [labels]),
    }
    description = {"kind": "data set", "split": "train", "task": 0, "tasks": [2], "class_order": [0, 1]}
    description |= {"class_names": ["a", "b"], "mean": [0.5] * 3, "std": [0.25] * 3}
    save_in_pieces(path, tensors, description)

    def batches() -> Iterator[Any]:
        # Mapped anew, because the system does not drop pages that are mapped.
        with safe_open(path, framework="pt") as file:
            images = PreparedImages([file.get_tensor("images")], CPU, mapped=True)
        data = TaskData(images, labels, (2,), 0, (0.5,) * 3, (0.25,) * 3, ("a", "b"))
        return ShuffledBatches(data, BATCH, torch.Generator().manual_seed(0))

    return batches


def write_jpegs(root: Path, side: int, count: int) -> None:
    """Write the same JPEG files in class folders and in shards."""
    rng = np.random.default_rng(0)
    for name in "ab":
        (root / "train" / name).mkdir(parents=True)
    for first in range(0, count, PER_SHARD):
        with tarfile.open(root / f"shard-{first // PER_SHARD:04}.tar", "w") as shard:
            for number in range(first, min(first + PER_SHARD, count)):
                label = number % 2
                content = io.BytesIO()
                photograph(rng, side).save(content, "JPEG", quality=90)
                (root / "train" / "ab"[label] / f"{number}.jpg").write_bytes(content.getvalue())
                for suffix, data in (("jpg", content.getvalue()), ("cls", str(label).encode())):
                    entry = tarfile.TarInfo(f"{number:08}.{suffix}")
                    entry.size = len(data)
                    shard.addfile(entry, io.BytesIO(data))


def pixels(image: Image.Image) -> torch.Tensor:
    """Decoded uint8 (channels, size, size), as a prepared file holds it."""
    return torch.from_numpy(np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy())


def image_folder(root: Path, workers: int) -> Callable[[], Iterator[Any]]:
    """torchvision's ImageFolder, one pass after the other."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    loader = DataLoader(
        ImageFolder(str(root / "train"), pixels), BATCH, shuffle=True, num_workers=workers, drop_last=True
    )
    return lambda: iter(loader)


def web_dataset(root: Path, workers: int) -> Callable[[], Iterator[Any]]:
    """WebDataset's shards, one pass."""
    import webdataset

    shards = [str(path) for path in sorted(root.glob("shard-*.tar"))]

    def batches() -> Iterator[Any]:
        dataset = (
            webdataset.WebDataset(shards, shardshuffle=len(shards), seed=0)
            .shuffle(1_000)
            .decode("pil")
            .to_tuple("jpg", "cls")
            .map_tuple(pixels, int)
            .batched(BATCH, partial=False)
        )
        return itertools.chain(webdataset.WebLoader(dataset, batch_size=None, num_workers=workers))

    return batches


if __name__ == "__main__":
    main()
