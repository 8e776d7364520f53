"""How long the preparation of a folder of images takes, and whether its memory grows with their number.

``python benchmarks/preparing.py --files 25000 100000 --threads 1 2`` writes random JPEG files in ten class
folders into a temporary folder, runs ``genifer prepare-data`` on them with so many CPUs, and prints what the
job recorded: elapsed time, processor time and peak memory. All files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml
from reading import photograph

CLASSES = 10


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--files", type=int, nargs="+", default=[25_000, 100_000])
    options.add_argument("--threads", type=int, nargs="+", default=[1, len(os.sched_getaffinity(0))])
    options.add_argument("--side", type=int, default=64, help="of the files")
    options.add_argument("--size", type=int, default=64, help="of the prepared images: a power of two")
    given = options.parse_args()
    print("| files | images | threads | elapsed | processor time | peak memory |")
    print("| --- | --- | --- | --- | --- | --- |")
    for files in given.files:
        with tempfile.TemporaryDirectory(prefix="genifer-") as folder:
            root = Path(folder)
            write_class_folders(root / "images", files, given.side)
            for threads in given.threads:
                status = prepared(root, threads, given.size)
                megabytes = files * 3 * given.size**2 / 10**6
                print(
                    f"| {files:,} | {megabytes:,.0f} MB | {threads} | {status['seconds']:.0f} s "
                    f"| {status['cpu_seconds']:.0f} s | {status['memory_mb']:.0f} MiB |",
                    flush=True,
                )


def write_class_folders(root: Path, files: int, side: int) -> None:
    """Write training images, and one test image per class."""
    rng = np.random.default_rng(0)
    for number in range(files + CLASSES):
        split = "train" if number < files else "test"
        path = root / split / f"class_{number % CLASSES}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(rng, side).save(path, "JPEG", quality=90)


def prepared(root: Path, threads: int, size: int) -> dict[str, float]:
    """Prepare the images in a process with so many CPUs; return the status of the job."""
    run = {
        "data": {"dataset": "image_folder", "archive": str(root / "images"), "image_size": size}
        | {"mean": None, "std": None},
        "scenario": {"tasks": [CLASSES // 2, CLASSES // 2]},
    }
    (root / "run.yaml").write_text(yaml.safe_dump(run))
    some = sorted(os.sched_getaffinity(0))[:threads]
    command = [sys.executable, "-m", "genifer", "prepare-data"]
    command += ["--config", str(root / "run.yaml"), "--output", str(root / "data")]
    done = subprocess.run(
        command, preexec_fn=lambda: os.sched_setaffinity(0, some), stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    status: dict[str, float] = json.loads((root / "data" / "status.json").read_text())
    return status


if __name__ == "__main__":
    main()
