"""The choice behind ``runtime.precision: auto``: on a CPU, a short timing of the run's own classifier.

Processor flags do not show whether bfloat16 is faster: with the same instructions it is nearly twice as fast
as float32 on one processor, and slower on another.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from genifer.errors import GeniferError
from genifer.nn.classifier import Classifier
from genifer.nn.stages import SMALL
from genifer.runtime.device import autocast
from genifer.runtime.files import atomic_write
from genifer.runtime.status import cpu_name
from genifer.runtime.tensors import load_description, load_shape

log = logging.getLogger(__name__)

CANDIDATES = ("fp32", "bf16")

MARGIN = 1.1
"""Minimum speed-up over fp32 for which bf16 is chosen, because bf16 is less accurate."""

BATCH_SIZE = 8
TIMED_SECONDS = 0.5
MOST_ROUNDS = 10
"""Maximum number of rounds; after a warm-up round, rounds are repeated for `TIMED_SECONDS`."""

SECONDS_TO_WAIT = 60
"""Maximum time to wait for another job that is timing."""


@dataclass(frozen=True)
class ClassifierSizes:
    """What determines how long a pass of a classifier takes."""

    architecture: str
    width: int
    channels: int
    image_size: int
    stem: str = SMALL

    @classmethod
    def of_files(cls, classifier: Path, images: Path) -> ClassifierSizes:
        """Read the sizes from a checkpoint and from prepared images."""
        network = load_description(classifier, "classifier")["network"]
        _, channels, size, _ = load_shape(images, "data set", "images")
        stem = network.get("stem", SMALL)
        return cls(network["architecture"], network["width"], channels, size, stem)

    def __str__(self) -> str:
        return (
            f"{self.architecture} of width {self.width}, {self.channels} x {self.image_size} x "
            f"{self.image_size}" + (f", stem {self.stem}" if self.stem != SMALL else "")
        )


@dataclass(frozen=True)
class Choice:
    """A precision (fp32, tf32 or bf16) and the reason for it."""

    precision: str
    reason: str


def choose_precision(
    setting: str, device: torch.device, sizes: ClassifierSizes, deterministic: bool = False
) -> Choice:
    """Choose the precision of a training.

    The timing takes a second. The user's cache folder keeps it for this processor, number of threads, version
    of PyTorch and sizes.

    Args:
        setting: ``runtime.precision``. auto means tf32 on a GPU. On a CPU it means bf16 if forward and
            backward passes of the classifier are `MARGIN` times as fast as in fp32, otherwise fp32.
        deterministic: ``runtime.deterministic``. On a CPU, auto then means fp32, because a timing may choose
            differently next time.
    """
    if setting != "auto":
        return Choice(setting, f"runtime.precision: {setting}")
    if device.type == "cuda":
        return Choice("tf32", "on a GPU")
    if deterministic:
        return Choice("fp32", "runtime.deterministic: true")
    seconds, source = _seconds(sizes)
    precision = "bf16" if seconds["fp32"] >= MARGIN * seconds["bf16"] else "fp32"
    each = " and ".join(f"{1000 * seconds[name]:.4g} ms in {name}" for name in CANDIDATES)
    threads = torch.get_num_threads()
    return Choice(
        precision, f"a pass of {sizes} takes {each} on {threads} thread{'s'[: threads > 1]} ({source})"
    )


def cache_file() -> Path:
    """Return the path of the cached timings: ``precision.json`` in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("genifer", appauthor=False) / "precision.json"


def _seconds(sizes: ClassifierSizes) -> tuple[dict[str, float], str]:
    """Return the seconds per pass in each precision, and whether they are cached or were timed now."""
    from filelock import FileLock, Timeout

    path = cache_file()
    key = f"{cpu_name()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}, {sizes}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Jobs that start together time one after another, because they would slow each other down.
        with FileLock(path.with_suffix(".lock"), timeout=SECONDS_TO_WAIT):
            known = _read(path)
            if key in known:
                return known[key], f"timed before, {path}"
            timed = time_passes(sizes)
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(known | {key: timed}, indent=1) + "\n", encoding="utf-8")
            return timed, "timed now"
    except (OSError, Timeout, GeniferError) as error:
        return time_passes(sizes), f"timed now, not cached: {error}"


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Read the timings in a file, without incomplete entries; none if the file cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            key: {name: float(seconds[name]) for name in CANDIDATES}
            for key, seconds in content.items()
            if isinstance(seconds, Mapping) and set(seconds) >= set(CANDIDATES)
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def time_passes(sizes: ClassifierSizes) -> dict[str, float]:
    """Time forward plus backward passes, alternating between precisions; return each minimum in seconds."""
    device = torch.device("cpu")
    with torch.random.fork_rng(devices=[]):
        classifier = Classifier(
            sizes.architecture, sizes.width, sizes.channels, n_classes=10, stem=sizes.stem
        )
        images = torch.randn(BATCH_SIZE, sizes.channels, sizes.image_size, sizes.image_size)
    classifier = classifier.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    parameters = list(classifier.parameters())

    def seconds_of_pass(precision: str) -> float:
        began = time.perf_counter()
        with autocast(device, precision):
            loss = classifier(images).float().square().mean()
        torch.autograd.grad(loss, parameters)
        return time.perf_counter() - began

    rounds: list[dict[str, float]] = []
    spent = 0.0
    while len(rounds) < 2 or (spent < TIMED_SECONDS and len(rounds) <= MOST_ROUNDS):
        rounds.append({name: seconds_of_pass(name) for name in CANDIDATES})
        if len(rounds) > 1:
            spent += sum(rounds[-1].values())
    return {name: min(each[name] for each in rounds[1:]) for name in CANDIDATES}
