"""How fast the trainings of a run are on this machine, and how near to what it can do.

Networks are new and images random: only sizes matter. Each figure is the median over several
repeats of so many steps, after steps to warm up; a GPU is waited for before a clock is read.
"""

from __future__ import annotations

import copy
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from genifer.config import GanSettings, RunSettings
from genifer.data.batches import Normalization, TaskData
from genifer.nn.classifier import Classifier
from genifer.training.checkpoints import load_gan, save_gan
from genifer.training.gan import (
    Distillation,
    GanStep,
    ema_decay,
    gan_batches,
    gan_data,
    new_gan,
    update_average,
)
from genifer.training.genifer import ReplayTraining
from genifer.training.resume import Part, ResumeFiles, not_finite, restore_state, state_of
from genifer.training.stage import RESUME_EVERY, Stage
from genifer.training.supervised import ImageTraining

WARM_UP_STEPS = 2
PEAK_SIDE = 2048


@dataclass(frozen=True)
class Figures:
    """What was measured of one thing.

    Attributes:
        seconds: of one step or call: median over the repeats, and the fastest and slowest of them.
        images: trained on in a step; 0 where there is none.
        operations: floating-point operations of a step, counted: multiply and add are two.
        peak_share: of this machine's fastest matrix product that the step reaches.
        memory: bytes; on a GPU what PyTorch had at most, on a CPU what the process had at most so far.
        parts: seconds of each part of a step, measured apart.
        note: anything else.
    """

    name: str
    seconds: float
    fastest: float
    slowest: float
    images: int = 0
    operations: int = 0
    peak_share: float = 0.0
    memory: int = 0
    parts: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


class Bench:
    """Measures at the sizes of a run, on one device.

    Args:
        steps: in each repeat.
        ada_probability: fixed probability of the discriminator's augmentation; None as the settings say.
    """

    def __init__(
        self,
        settings: RunSettings,
        device: torch.device,
        precision: str,
        steps: int,
        repeats: int,
        ada_probability: float | None,
    ) -> None:
        self.settings, self.device, self.precision = settings, device, precision
        self.steps, self.repeats = steps, repeats
        self.ada_probability = ada_probability
        self._peak: float | None = None

    def all(self) -> Iterator[Figures]:
        yield from self.gan()
        yield from self.classifier()
        yield from self.next_task()
        yield from self.checkpoint()

    def gan(self) -> Iterator[Figures]:
        """Steps of the GAN on the first and on a later task."""
        for task in (0, 1)[: len(self.settings.scenario.tasks)]:
            stage = self._stage("train_gan" if task else "pretrain_gan", task)
            settings = self._gan_settings()
            gan, data = self._new_gan(stage, settings)
            shuffled = gan_data(gan, data, stage.start())
            batches = gan_batches(gan, shuffled, Normalization(data.mean, data.std).to(self.device))
            averaged = copy.deepcopy(gan.generator).requires_grad_(False)
            done = 0

            def step(
                gan: GanStep = gan,
                batches: Iterator[Any] = batches,
                averaged: nn.Module = averaged,
                settings: GanSettings = settings,
            ) -> None:
                nonlocal done
                done += 1
                with self._part("draws and images"):
                    batch = next(batches)
                with self._part("discriminator's step"):
                    gan.discriminator_step(batch, done)
                with self._part("generator's step"):
                    gan.generator_step(batch)
                with self._part("running average"):
                    decay = ema_decay(done, settings.batch_size, settings.ema_half_life, 1.0)
                    update_average(averaged, gan.generator, decay)

            name = f"GAN, {'a later' if task else 'the first'} task"
            ada = "none" if settings.ada.mode == "none" else f"{settings.ada.probability:g}"
            yield self._measure(name, step, settings.batch_size, f"ADA probability {ada}")

    def classifier(self) -> Iterator[Figures]:
        """Steps of the classifier on the first task."""
        stage = self._stage("pretrain_classifier", 0)
        data = self._data(0)
        classifier = self._classifier(data.n_new)
        settings = self.settings.pretrain_classifier
        training = ImageTraining(stage, settings, classifier, data, stage.start())
        yield self._measure("classifier, the first task", training.step, settings.batch_size)

    def next_task(self) -> Iterator[Figures]:
        """Steps of the classifier on a later task, with replay."""
        if len(self.settings.scenario.tasks) < 2:
            return
        stage = self._stage("train_genifer", 1)
        data = self._data(1)
        gan, _ = self._new_gan(self._stage("train_gan", 1), self._gan_settings())
        old_classifier, classifier = self._classifier(data.n_old), self._classifier(data.n_old + data.n_new)
        settings = self.settings.genifer
        training = ReplayTraining(
            stage,
            settings,
            classifier,
            old_classifier,
            gan.generator.eval().requires_grad_(False),
            data,
            Normalization(data.mean, data.std).to(self.device),
            stage.start(),
        )
        yield self._measure("classifier, a later task", training.step, settings.batch_size)

    def checkpoint(self) -> Iterator[Figures]:
        """Writing and reading the resume file and the checkpoint of a GAN's training, in this folder."""
        stage = self._stage("pretrain_gan", 0)
        gan, data = self._new_gan(stage, self._gan_settings())
        batches = gan_batches(
            gan,
            gan_data(gan, data, stage.start()),
            Normalization(data.mean, data.std).to(self.device),
        )
        batch = next(batches)
        gan.discriminator_step(batch, 1)
        gan.generator_step(batch)  # the optimisers have all their moments now
        averaged = copy.deepcopy(gan.generator)
        parts: dict[str, Part] = {
            "generator": gan.generator,
            "averaged generator": averaged,
            "discriminator": gan.discriminator,
            "generator's optimizer": gan.generator_optimizer,
            "discriminator's optimizer": gan.discriminator_optimizer,
            "augmentation": gan.ada,
        }
        with tempfile.TemporaryDirectory(dir=Path(), prefix=".bench-") as folder:
            files, checkpoint = ResumeFiles(Path(folder), {}), Path(folder) / "gan.safetensors"

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

            written = self._seconds(write_resume_file, 1)
            newest = files.newest()
            assert newest is not None
            share = statistics.median(written) / (60 * RESUME_EVERY)
            note = f"{_megabytes(newest)}, {share:.2%} of the time at one every {RESUME_EVERY:g} minutes"
            yield _figures("resume file, written", written, note=note)
            yield _figures("resume file, read", self._seconds(read_resume_file, 1))
            written = self._seconds(write_checkpoint, 1)
            yield _figures("GAN's checkpoint, written", written, note=_megabytes(checkpoint))
            read = self._seconds(lambda: load_gan(checkpoint, self.device), 1)
            yield _figures("GAN's checkpoint, read", read)

    @property
    def peak(self) -> float:
        """Floating-point operations a second of a large matrix product in this precision, at best."""
        if self._peak is None:
            dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
            a, b = (torch.randn(PEAK_SIDE, PEAK_SIDE, device=self.device, dtype=dtype) for _ in range(2))
            self._peak = 2 * PEAK_SIDE**3 / min(self._seconds(lambda: a @ b, 5))
        return self._peak

    def _measure(self, name: str, step: Callable[[], object], images: int, note: str = "") -> Figures:
        peak = self.peak
        for _ in range(WARM_UP_STEPS):
            step()
        counter = FlopCounterMode(display=False)
        # By module it would count, too, which trips over a parameter that is expanded without gradients.
        counter.mod_tracker = _Whole()
        with torch.compiler.set_stance("force_eager"), counter:  # compiled code is not looked into
            step()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = self._seconds(step, self.steps)
        operations = counter.get_total_flops()
        return _figures(
            name,
            seconds,
            images=images,
            operations=operations,
            peak_share=operations / statistics.median(seconds) / peak,
            memory=self._memory(),
            parts=self._of_parts(step),
            note=note,
        )

    def _seconds(self, call: Callable[[], object], count: int) -> list[float]:
        """Seconds of a call, from each of the repeats of ``count`` of them, after one to warm up."""
        call()
        seconds = []
        for _ in range(self.repeats):
            self._wait()
            began = time.perf_counter()
            for _ in range(count):
                call()
            self._wait()
            seconds.append((time.perf_counter() - began) / count)
        return seconds

    def _of_parts(self, step: Callable[[], object]) -> dict[str, float]:
        """Mean seconds of the parts of a step; the device is waited for after each of them."""
        self._parts: dict[str, float] | None = {}
        for _ in range(self.steps):
            step()
        parts, self._parts = self._parts, None
        return {name: seconds / self.steps for name, seconds in parts.items()}

    _parts: dict[str, float] | None = None

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        if self._parts is None:
            yield
            return
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self._parts[name] = self._parts.get(name, 0.0) + time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _memory(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def _stage(self, name: str, task: int) -> Stage:
        return Stage(name, 0, task, Path(), self.device, self.precision)

    def _gan_settings(self) -> GanSettings:
        settings = self.settings.gan
        if self.ada_probability is None:
            return settings
        ada = settings.ada.model_copy(update={"mode": "fixed", "probability": self.ada_probability})
        return settings.model_copy(update={"ada": ada})

    def _data(self, task: int) -> TaskData:
        """Random images of a task, as many as ten batches of the GAN have."""
        tasks, data = tuple(self.settings.scenario.tasks), self.settings.data
        n = 10 * self.settings.gan.batch_size
        rng = torch.Generator().manual_seed(0)
        first = sum(tasks[:task])
        size = (n, data.channels, data.image_size, data.image_size)
        images = torch.randint(0, 256, size, generator=rng, dtype=torch.uint8)
        labels = torch.randint(first, first + tasks[task], (n,), generator=rng)
        grey = (0.5,) * data.channels
        return TaskData(images.to(self.device), labels.to(self.device), tasks, task, grey, grey, ())

    def _classifier(self, n_classes: int) -> Classifier:
        network = self.settings.classifier
        classifier = Classifier(
            network.architecture,
            network.width,
            self.settings.data.channels,
            n_classes,
            network.readout_bias,
        )
        return classifier.to(self.device).to(memory_format=torch.channels_last)

    def _new_gan(self, stage: Stage, settings: GanSettings) -> tuple[GanStep, TaskData]:
        stage.start()
        data = self._data(stage.task)
        classifier = self._classifier(data.n_old + data.n_new)
        generator, discriminator = new_gan(
            settings,
            self.settings.generator,
            self.settings.discriminator,
            classifier,
            data.n_classes,
            data.images,
        )
        held = None
        if stage.task:
            old = copy.deepcopy(generator).to(self.device).to(memory_format=torch.channels_last)
            held = Distillation(old, self.settings.train_gan, data.n_old, data.n_new)
        probability = settings.ada.probability
        return GanStep(settings, generator, discriminator, classifier, stage, probability, held), data


class _Whole(ModuleTracker):
    """Takes a step for one module."""

    def __init__(self) -> None:
        super().__init__()
        self.parents = {"Global"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _figures(name: str, seconds: list[float], **others: Any) -> Figures:
    return Figures(name, statistics.median(seconds), min(seconds), max(seconds), **others)


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.0f} MB"
