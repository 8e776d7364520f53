"""Checks of a machine before a long run: problems that would stop the run, and its estimated time."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch
import typer

from genifer.config import RunSettings
from genifer.data.load import find_archive
from genifer.errors import GeniferError
from genifer.layout import RESULTS, Layout
from genifer.monitor.estimate import (
    bytes_needed,
    layout_of_one_seed,
    threads_of_a_training,
    time_needed,
)
from genifer.monitor.preflight import check_given_files, check_trackers, refuse_cpu
from genifer.nn.torchvision_weights import URLS
from genifer.runtime.device import pick_device
from genifer.runtime.durations import duration
from genifer.runtime.files import atomic_write
from genifer.training.precision import choose_precision
from genifer.training.untrained import sizes_of

TIMEOUT_SECONDS = 10
GIGABYTE = 1e9
COLORS = {"ok": "green", "note": "yellow", "stop": "red"}


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        verdict: ``stop`` if the run would stop, ``note`` if there is something to consider, else ``ok``.
        figures: numbers for scripts: those in the message; for ``time``, also the hours of the longest
            training of each rule.
    """

    check: str
    verdict: Literal["ok", "note", "stop"]
    message: str
    figures: Mapping[str, float] = field(default_factory=dict)


def examine(settings: RunSettings, device_name: str) -> Iterator[Finding]:
    """Run all checks, and yield each result as soon as it is available.

    Args:
        device_name: auto, cpu or cuda.
    """
    checks: dict[str, Callable[[], Finding]] = {
        "device": lambda: _device(device_name),
        "precision": lambda: _precision(settings, device_name),
        "data": lambda: _data(settings),
        "disk": lambda: _disk(settings),
        "results": _results,
        "time": lambda: _time(settings, device_name),
    }
    if layout_of_one_seed(settings).downloaded_weights:
        checks["weights"] = lambda: _weights(settings)
    for name, check in checks.items():
        try:
            yield check()
        except GeniferError as error:
            yield Finding(name, "stop", str(error))


def print_findings(settings: RunSettings, findings: Iterable[Finding], as_json: bool) -> list[Finding]:
    """Print findings as they arrive, one per line, or all in one JSON object; return them."""
    shown = []
    for finding in findings:
        shown.append(finding)
        if not as_json:
            verdict = typer.style(f"{finding.verdict:4}", fg=COLORS[finding.verdict])
            typer.echo(f"{verdict}  {finding.check:9} {finding.message}")
    if as_json:
        checks = [asdict(finding) for finding in shown]
        typer.echo(json.dumps({"run": settings.run, "ok": not would_stop(shown), "checks": checks}, indent=2))
    return shown


def would_stop(findings: Iterable[Finding]) -> bool:
    """Return whether a finding would stop the run."""
    return any(finding.verdict == "stop" for finding in findings)


def hours_of_trainings(findings: Iterable[Finding]) -> dict[str, float]:
    """Return the hours of the longest training of each rule, if they were estimated."""
    figures = (finding.figures for finding in findings if finding.check == "time")
    return {name: hours for each in figures for name, hours in each.items() if name != "hours"}


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
    threads = torch.get_num_threads()
    found = (
        f"{threads} thread{'s'[: threads != 1]} of a CPU ({platform.machine()}), PyTorch {torch.__version__}"
    )
    if device_name == "cpu":
        return Finding("device", "ok", found)
    driver = _driver()
    if driver is not None:
        return Finding(
            "device",
            "note",
            f"{found}; there is a GPU with driver {driver}, but this PyTorch (CUDA {torch.version.cuda}) "
            "does not find it: update the driver, or install a version of PyTorch that fits it",
        )
    return Finding("device", "note", f"{found}; no GPU was found")


def _precision(settings: RunSettings, device_name: str) -> Finding:
    runtime = settings.runtime
    with threads_of_a_training(settings):
        choice = choose_precision(
            runtime.precision, pick_device(device_name), sizes_of(settings), runtime.deterministic
        )
    return Finding("precision", "ok", f"{choice.precision}: {choice.reason}")


def _driver() -> str | None:
    """Return the version of NVIDIA's driver, if there is one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip().splitlines()[0] if answer.stdout.strip() else None


def _data(settings: RunSettings) -> Finding:
    check_given_files(settings)
    check_trackers(settings)
    dataset, layout = settings.registry.dataset(settings.data.dataset), layout_of_one_seed(settings)
    prepared = Layout(settings).prepared
    if all(Path(path).is_file() for path in prepared):
        return Finding("data", "ok", f"prepared in {Path(os.path.commonpath(prepared))}")
    if dataset.archive == "none":
        return Finding("data", "ok", f"{dataset.name} needs no file")
    downloaded = Path(layout.downloaded) if layout.downloaded else None
    if downloaded is None or downloaded.is_file():
        return Finding("data", "ok", f"found in {find_archive(dataset, settings.data, downloaded)}")
    assert dataset.url is not None
    return _download("data", dataset.url, "data.archive")


def _weights(settings: RunSettings) -> Finding:
    for architecture, path in layout_of_one_seed(settings).downloaded_weights.items():
        if not Path(path).is_file():
            return _download("weights", URLS[architecture], "classifier.pretrained")
    return Finding("weights", "ok", "the file for classifier.pretrained has been downloaded")


def _download(check: str, url: str, setting: str) -> Finding:
    """Check whether a file can be downloaded; ``setting`` is the setting that can name a copy of it."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            size = int(answer.headers.get("Content-Length", 0))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise GeniferError(
            f"{url} cannot be reached ({reason}): copy the file from another machine, and set {setting} to "
            "its path"
        ) from error
    return Finding(check, "ok", f"{url} can be reached ({size / GIGABYTE:.2f} GB to download)")


def _disk(settings: RunSettings) -> Finding:
    needed = bytes_needed(settings)
    results = Path(layout_of_one_seed(settings).results)
    present = sum(path.stat().st_size for path in results.rglob("*") if path.is_file())
    folder = next(folder for folder in (RESULTS, Path()) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    missing = max(needed - present, 0)
    unknown = settings.registry.dataset(settings.data.dataset).images is None
    message = (
        f"{free / GIGABYTE:.1f} GB are free in {folder.absolute()}, the run needs {missing / GIGABYTE:.2f} GB"
        + (" and room for the prepared images" if unknown else "")
    )
    if free < missing:
        raise GeniferError(f"{message}: free space, or make results/ a link to a larger disk")
    if free < 2 * missing:
        message += ", and as much again for DVC's cache if you record it with DVC"
    figures = {"free_bytes": free, "needed_bytes": missing}
    return Finding("disk", "note" if free < 2 * missing else "ok", message, figures)


def _results() -> Finding:
    """Check that a file can be written, flushed, renamed and read back, as in every job."""
    existed = RESULTS.exists()
    content = os.urandom(1 << 20)
    try:
        RESULTS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=RESULTS, prefix=".doctor-") as folder:
            path = Path(folder) / "file"
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
            if path.read_bytes() != content:
                raise GeniferError(
                    f"{RESULTS.absolute()}: a file has other content after writing; check the disk, or make "
                    "results/ a link to another one"
                )
        if not existed:
            RESULTS.rmdir()
    except OSError as error:
        raise GeniferError(
            f"{RESULTS.absolute()}: cannot be written ({error.strerror}); change its permissions, or make "
            "results/ a link to a writable folder"
        ) from error
    return Finding("results", "ok", f"files can be written to {RESULTS.absolute()}")


def _time(settings: RunSettings, device_name: str) -> Finding:
    device = pick_device(device_name)
    needed = time_needed(settings, device)
    hours = needed.run
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
    if device.type == "cpu" and device_name == "auto":
        refuse_cpu(settings, hours)
    message = f"the whole run takes about {duration(hours)} on {where}"
    return Finding("time", "ok", message, {"hours": hours, **needed.longest})
