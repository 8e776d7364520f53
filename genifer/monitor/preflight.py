"""Checks before a run starts: files, data set, trackers, device, and the estimated time on a CPU."""

from __future__ import annotations

import logging
from pathlib import Path

from genifer.config import RunSettings
from genifer.data.load import errors_explained
from genifer.data.scenario import build_scenario
from genifer.errors import GeniferError
from genifer.published import fitting, read_published
from genifer.runtime.durations import duration
from genifer.runtime.gpus import visible_gpus
from genifer.runtime.tracking import PACKAGES, missing_packages
from genifer.settings import IMAGENET_WEIGHTS

log = logging.getLogger(__name__)


def check_run(settings: RunSettings, device_name: str, elsewhere: bool, gpus: int | None = None) -> None:
    """Raise a `GeniferError` if something would stop a run.

    Args:
        device_name: auto, cpu or cuda.
        elsewhere: whether jobs run on other machines, so that this machine's device does not matter.
        gpus: Snakemake's resource gpu, of which each training uses its number of GPUs; None without a limit.
    """
    if elsewhere:
        check_given_files(settings)
        check_trackers(settings)
    else:
        preflight(settings, device_name, gpus)


def preflight(settings: RunSettings, device_name: str, gpus: int | None = None) -> None:
    """Check a run before it starts.

    Args:
        device_name: auto, cpu or cuda.
        gpus: as in `check_run`.

    Raises:
        GeniferError: something would stop the run, or it would take too long on this CPU.
    """
    check_given_files(settings)
    check_trackers(settings)
    if device_name == "cpu":  # no need for PyTorch, whose import takes a second
        log.info("run %s: on the CPU", settings.run)
        return
    import torch

    from genifer.monitor.estimate import training_hours
    from genifer.runtime.device import pick_device

    reserved = check_gpus(settings, gpus)
    device = pick_device(device_name)
    if device.type == "cpu":
        hours = training_hours(settings, device)
        log.info("run %s: about %s on this CPU (no GPU was found)", settings.run, duration(hours))
        refuse_cpu(settings, hours)
    else:
        wanted, found = settings.runtime.gpus_per_job, torch.cuda.device_count()
        if wanted > max(found, 1):
            raise GeniferError(
                f"runtime.gpus_per_job: {wanted}, but PyTorch finds {found} GPU{'s'[: found != 1]} here; "
                "lower it, or run on a machine with more GPUs"
            )
        log.info("run %s: on %s", settings.run, torch.cuda.get_device_name())
        if not reserved:
            log.warning(
                "nvidia-smi lists no GPU here, so trainings cannot reserve one: trainings that run at the "
                "same time share the first GPU"
            )


def check_gpus(settings: RunSettings, wanted: int | None) -> bool:
    """Warn about GPUs that do not work, and if Snakemake's resource gpu exceeds the GPUs of this machine.

    Args:
        wanted: Snakemake's resource gpu; None without a limit.

    Returns:
        Whether there are GPUs that trainings can reserve.
    """
    gpus, problems = visible_gpus()
    for problem in problems:
        log.warning(problem)
    each = settings.runtime.jobs_per_gpu
    possible = len(gpus) * each
    if gpus and wanted is not None and wanted > possible:
        log.warning(
            "--resources gpu=%d, but %s and runtime.jobs_per_gpu: %d allow only %d; further trainings wait. "
            "Lower it to gpu=%d, or raise runtime.jobs_per_gpu (docs/run-on-a-cluster.md)",
            *(wanted, ", ".join(map(str, gpus)), each, possible, possible),
        )
    return bool(gpus)


def refuse_cpu(settings: RunSettings, hours: float) -> None:
    """Raise a `GeniferError` if a run would take longer on a CPU than the settings allow."""
    limit = settings.runtime.max_cpu_hours
    if hours > limit:
        raise GeniferError(
            f"run '{settings.run}' would take about {duration(hours)} on this CPU, more than "
            f"runtime.max_cpu_hours: {limit:g}, and PyTorch finds no GPU. Run it on a machine with a GPU "
            "(config/quickstart.yaml is a run for a CPU). Set runtime.device: cpu to run anyway (with "
            f"snakemake: --config 'runtime={{device: cpu}}'), or runtime.max_cpu_hours above {hours:.0f}"
        )


def check_trackers(settings: RunSettings) -> None:
    """Raise a `GeniferError` if the package of a tracker is not installed."""
    missing = missing_packages(settings.runtime.trackers)
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise GeniferError(
            f"runtime.trackers: {', '.join(missing)}: not installed; run 'pip install {packages}', or "
            "remove it from the list"
        )


def check_given_files(settings: RunSettings) -> None:
    """Raise a `GeniferError` if a file or folder that the settings name does not exist or does not fit."""
    given = {"start.classifier": settings.start.classifier, "start.gan": settings.start.gan}
    given |= {
        f"methods.{variant.label}: classifier.pretrained": variant.settings.classifier.pretrained
        for variant in settings.variants
        if "classifier" in variant.own
    }
    given["classifier.pretrained"] = settings.classifier.pretrained
    for name, checkpoint in given.items():
        if checkpoint not in (None, IMAGENET_WEIGHTS) and not checkpoint.is_file():
            allowed, otherwise = "a checkpoint", ""
            if name.endswith("classifier.pretrained"):
                allowed = "a run's classifier.safetensors or of torchvision's weights (.pth, .safetensors)"
                otherwise = f", or {IMAGENET_WEIGHTS} to download torchvision's"
            raise GeniferError(
                f"{name}: {checkpoint} does not exist; give the path of {allowed}, relative to "
                f"{Path.cwd()}{otherwise}"
            )
    if settings.plots.published is not None:
        _check_published(settings, settings.plots.published)
    if settings.data.archive is not None:
        _check_archive(settings, settings.data.archive)


def _check_published(settings: RunSettings, path: Path) -> None:
    everything = read_published(path)
    if not fitting(settings):
        known = dict.fromkeys(f"{figure.data_set} in {figure.scenario}" for figure in everything)
        log.warning(
            "plots.published: no accuracy in %s fits data.dataset: %s, scenario.tasks: %s and "
            "evaluation.split: %s, so none is drawn; the file has test accuracies on %s",
            *(path, settings.data.dataset, settings.scenario.tasks, settings.evaluation.split),
            "; ".join(known) or "nothing",
        )


def _check_archive(settings: RunSettings, archive: Path) -> None:
    dataset = settings.registry.dataset(settings.data.dataset)
    if not archive.exists():
        raise GeniferError(
            f"data.archive: {archive} does not exist; give the path of {dataset.archive_format}, relative to "
            f"{Path.cwd()}"
        )
    if archive.is_dir() and dataset.archive == "download":
        raise GeniferError(
            f"data.archive: {archive} is a folder; data.dataset: {dataset.name} needs "
            f"{dataset.archive_format}"
        )
    with errors_explained(dataset, archive):
        names = dataset.class_names_in(archive)
    if names is not None:
        build_scenario(settings.scenario.of_seed(settings.seeds[0]), names)
