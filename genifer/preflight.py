"""Checks before a run starts: data at hand, a device, and on a CPU the time that it will take."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from genifer.config import RunSettings
from genifer.data.sources import class_folders
from genifer.errors import GeniferError
from genifer.estimate import training_hours
from genifer.evaluation.published import read_published
from genifer.runtime.device import pick_device
from genifer.runtime.progress import duration
from genifer.runtime.tracking import PACKAGES, missing_packages
from genifer.scenario import build_scenario

log = logging.getLogger(__name__)


def preflight(settings: RunSettings, device_name: str) -> None:
    """Raise a `GeniferError` if something would stop the run, or if a CPU is no place for it."""
    check_given_files(settings)
    check_trackers(settings)
    device = pick_device(device_name)
    if device.type == "cpu" and device_name == "auto":
        hours = training_hours(settings, device)
        log.info("run %s: about %s on this CPU (no GPU was found)", settings.run, duration(hours))
        refuse_cpu(settings, hours)
    else:
        log.info(
            "run %s: on %s",
            settings.run,
            torch.cuda.get_device_name() if device.type == "cuda" else "the CPU",
        )


def refuse_cpu(settings: RunSettings, hours: float) -> None:
    """Raise a `GeniferError` where a run would take longer on a CPU than the settings allow."""
    if hours > settings.runtime.max_cpu_hours:
        raise GeniferError(
            f"run '{settings.run}' would take about {duration(hours)} on this machine: PyTorch finds no "
            "GPU here. Run it on a machine with one (config/quickstart.yaml is a run for a CPU), or "
            f"insist: set runtime.device: cpu (with snakemake: --config 'runtime={{device: cpu}}'), or "
            f"runtime.max_cpu_hours above {hours:.0f}"
        )


def check_trackers(settings: RunSettings) -> None:
    """Raise a `GeniferError` if the package of a tracker is not installed."""
    missing = missing_packages(settings.runtime.trackers)
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise GeniferError(
            f"runtime.trackers: {', '.join(missing)}: not installed. Install it (pip install {packages}), or "
            "take it from the list"
        )


def check_given_files(settings: RunSettings) -> None:
    """Raise a `GeniferError` if a file or folder that the settings name is not there, or does not fit."""
    given = {
        "start.classifier": settings.start.classifier,
        "start.gan": settings.start.gan,
        "classifier.pretrained": settings.classifier.pretrained,
    }
    for name, checkpoint in given.items():
        if checkpoint is not None and not checkpoint.is_file():
            raise GeniferError(
                f"{name}: {checkpoint} does not exist; give the path of a checkpoint, seen from {Path.cwd()}"
            )
    if settings.plots.published is not None:
        read_published(settings.plots.published)
    archive = settings.data.archive
    if archive is None:
        return
    if not archive.exists():
        raise GeniferError(
            f"data.archive: {archive} does not exist; give the path of the data, seen from {Path.cwd()}"
        )
    if archive.is_dir():
        if settings.data.dataset != "image_folder":
            raise GeniferError(
                f"data.archive: {archive} is a folder; data.dataset: {settings.data.dataset} needs an archive"
            )
        build_scenario(settings.scenario, class_folders(archive)[1])
