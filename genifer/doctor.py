"""A look at the machine before a long run: what would stop it, and how long it will take."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torchvision.datasets import CIFAR100

from genifer.config import RunSettings
from genifer.data.archives import Archive
from genifer.errors import GeniferError
from genifer.estimate import bytes_needed, training_hours
from genifer.preflight import check_given_files, check_trackers, refuse_cpu
from genifer.runtime.device import pick_device
from genifer.runtime.files import whole_file
from genifer.runtime.progress import duration

RESULTS = Path("results")
DOWNLOADED = RESULTS / "downloads" / "cifar-100-python.tar.gz"
TIMEOUT_SECONDS = 10
GIGABYTE = 1e9


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        verdict: ``stop`` where the run would stop, ``note`` where it is worth a thought.
        figures: the message's numbers, for scripts.
    """

    check: str
    verdict: Literal["ok", "note", "stop"]
    message: str
    figures: Mapping[str, float] = field(default_factory=dict)


def examine(settings: RunSettings, device_name: str) -> Iterator[Finding]:
    """Check after check, each as soon as it is done."""
    checks: dict[str, Callable[[], Finding]] = {
        "device": lambda: _device(device_name),
        "data": lambda: _data(settings),
        "disk": lambda: _disk(settings),
        "results": _results,
        "time": lambda: _time(settings, device_name),
    }
    for name, check in checks.items():
        try:
            yield check()
        except GeniferError as error:
            yield Finding(name, "stop", str(error))


def _device(device_name: str) -> Finding:
    device = pick_device(device_name)
    if device.type == "cuda":
        index = torch.cuda.current_device()
        gpu = torch.cuda.get_device_properties(index)
        count = torch.cuda.device_count()
        return Finding(
            "device",
            "ok",
            f"{gpu.name}, {gpu.total_memory / GIGABYTE:.0f} GB, driver {_driver() or 'unknown'}, "
            f"CUDA {torch.version.cuda}, PyTorch {torch.__version__}"
            + (f"; one of {count} GPUs" if count > 1 else ""),
        )
    found = f"{torch.get_num_threads()} threads of a CPU ({platform.machine()}), PyTorch {torch.__version__}"
    if device_name == "cpu":
        return Finding("device", "ok", found)
    driver = _driver()
    if driver is not None:
        return Finding(
            "device",
            "note",
            f"{found}; a GPU with driver {driver} is here, but this PyTorch (CUDA {torch.version.cuda}) does "
            "not see it: update the driver, or install the PyTorch that fits it",
        )
    return Finding("device", "note", f"{found}; no GPU was found")


def _driver() -> str | None:
    """Version of NVIDIA's driver, if there is one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip().splitlines()[0] if answer.stdout.strip() else None


def _data(settings: RunSettings) -> Finding:
    check_given_files(settings)
    check_trackers(settings)
    data = settings.data
    if data.dataset == "digits":
        return Finding("data", "ok", "the digits come with scikit-learn")
    folder = RESULTS / settings.run / "data"
    names = [f"task_{task}_train.safetensors" for task in range(len(settings.scenario.tasks))]
    if all((folder / name).is_file() for name in names):
        return Finding("data", "ok", f"prepared in {folder}")
    if data.archive is not None:
        if data.archive.is_file():
            with Archive(data.archive, data.max_unpacked_gb):
                pass
        return Finding("data", "ok", f"at hand in {data.archive}")
    if DOWNLOADED.is_file():
        return Finding("data", "ok", f"downloaded to {DOWNLOADED}")
    try:
        request = urllib.request.Request(CIFAR100.url, method="HEAD")
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            size = int(answer.headers.get("Content-Length", 0))
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise GeniferError(
            f"{CIFAR100.url} cannot be reached ({reason}): copy the archive here from another machine, "
            "and set data.archive to its path"
        ) from error
    return Finding("data", "ok", f"{CIFAR100.url} can be reached ({size / GIGABYTE:.2f} GB to download)")


def _disk(settings: RunSettings) -> Finding:
    needed = bytes_needed(settings)
    there = sum(path.stat().st_size for path in (RESULTS / settings.run).rglob("*") if path.is_file())
    folder = next(folder for folder in (RESULTS, Path()) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    missing = max(needed - there, 0)
    images = " and the prepared images" if settings.data.dataset == "image_folder" else ""
    message = (
        f"{free / GIGABYTE:.1f} GB are free in {folder.absolute()}, the run needs {missing / GIGABYTE:.2f} GB"
        f"{images}"
    )
    if free < missing:
        raise GeniferError(f"{message}: free space, or make results/ a link to a larger disk")
    if free < 2 * missing:
        message += ", and as much again in DVC's cache if it is recorded"
    figures = {"free_bytes": free, "needed_bytes": missing}
    return Finding("disk", "note" if free < 2 * missing else "ok", message, figures)


def _results() -> Finding:
    """Write, flush, rename and read back, as every stage does."""
    there = RESULTS.exists()
    content = os.urandom(1 << 20)
    try:
        RESULTS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=RESULTS, prefix=".doctor-") as folder:
            path = Path(folder) / "file"
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
            if path.read_bytes() != content:
                raise GeniferError(f"{RESULTS.absolute()}: what was written reads back differently")
        if not there:
            RESULTS.rmdir()
    except OSError as error:
        raise GeniferError(
            f"{RESULTS.absolute()}: cannot be written ({error.strerror}); mend its permissions, or make "
            "results/ a link to a folder that can be"
        ) from error
    return Finding("results", "ok", f"files can be written to {RESULTS.absolute()}")


def _time(settings: RunSettings, device_name: str) -> Finding:
    device = pick_device(device_name)
    hours = training_hours(settings, device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
    if device.type == "cpu" and device_name == "auto":
        refuse_cpu(settings, hours)
    return Finding("time", "ok", f"the whole run takes about {duration(hours)} on {where}", {"hours": hours})
