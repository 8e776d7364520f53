"""How long things take on this machine, at the sizes of a run."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from genifer.config import RunSettings
from genifer.estimate import gan_at_work
from genifer.training.checkpoints import load_gan, save_gan
from genifer.training.resume import Part, ResumeFiles, not_finite, restore_state, state_of
from genifer.training.stage import RESUME_EVERY, Stage


@dataclass(frozen=True)
class Timing:
    """Seconds of one thing, over several repeats.

    Attributes:
        note: what else there is to say, such as a size or a share.
    """

    what: str
    median: float
    fastest: float
    slowest: float
    note: str = ""


def timed(what: str, repeats: int, call: Callable[[], object]) -> Timing:
    """Time a call, after one to warm up."""
    call()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return Timing(what, statistics.median(seconds), min(seconds), max(seconds))


def bench_checkpoint(settings: RunSettings, device: torch.device, repeats: int, folder: Path) -> list[Timing]:
    """Write and read the resume file and the checkpoint of a GAN's training.

    The training has done one step, so that its optimisers have all their moments.
    """
    stage = Stage("pretrain_gan", 0, 0, folder, device, settings.runtime.precision)
    gan, step = gan_at_work(settings, stage)
    step()
    averaged = copy.deepcopy(gan.generator)
    parts: dict[str, Part] = {
        "generator": gan.generator,
        "averaged generator": averaged,
        "discriminator": gan.discriminator,
        "generator's optimizer": gan.generator_optimizer,
        "discriminator's optimizer": gan.discriminator_optimizer,
        "augmentation": gan.ada,
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix=".bench-") as temporary:
        files = ResumeFiles(Path(temporary), {})
        checkpoint = Path(temporary) / "gan.safetensors"

        def write_resume_file() -> None:
            state = state_of(parts)
            assert not_finite(state) is None
            files.write(0, state)

        def read_resume_file() -> None:
            found = files.read()
            assert found is not None
            restore_state(parts, found[1], files.folder)

        def write_checkpoint() -> None:
            save_gan(checkpoint, averaged, gan.discriminator, 1, 0)

        written = timed("write a resume file", repeats, write_resume_file)
        read = timed("read it", repeats, read_resume_file)
        newest = files.newest()
        assert newest is not None
        share = written.median / (60 * RESUME_EVERY)
        note = f"{_megabytes(newest)}, {share:.2%} of the time at one every {RESUME_EVERY:g} minutes"
        saved = timed("write a checkpoint", repeats, write_checkpoint)
        loaded = timed("read it", repeats, lambda: load_gan(checkpoint, device))
        return [replace(written, note=note), read, replace(saved, note=_megabytes(checkpoint)), loaded]


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.0f} MB"
