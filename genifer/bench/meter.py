"""Measurements of the benchmarks: time, operations, memory, and the parts of a step."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from genifer.training.job import Job

NAME_WIDTH = 40
WARM_UP_STEPS = 2
PEAK_SIDE = 2048
PEAK_CHANNELS, PEAK_IMAGES, PEAK_IMAGE_SIDE = 256, 16, 32
PEAK_CALLS, PEAK_SECONDS = 25, 3.0
"""The ceiling is the fastest of so many matrix products and 3 x 3 convolutions, or of as many of each as fit
into the time. On some processors convolutions reach more than products."""


@dataclass(frozen=True)
class Figures:
    """The result of one benchmark.

    Attributes:
        seconds: per step or call: median over the repeats; ``fastest`` and ``slowest`` are the extremes.
        images: per step; 0 if it is no training step.
        operations: floating-point operations per step, counted: multiply and add are two.
        peak_share: share of this machine's ceiling that the step reaches (`Meter.peak`).
        memory: bytes; on a GPU the peak of PyTorch, on a CPU the peak of the process so far.
        parts: seconds per step of each part, measured separately.
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

    def __str__(self) -> str:
        indent = " " * NAME_WIDTH
        lines = [
            f"{self.name:{NAME_WIDTH}} {1000 * self.seconds:9.1f} ms "
            f"({1000 * self.fastest:.1f} to {1000 * self.slowest:.1f})  {self.note}"
        ]
        if self.images:
            lines.append(
                f"{indent} {self.images / self.seconds:9.1f} images/s, {self.operations / 1e9:.1f} G "
                f"operations, {self.peak_share:.0%} of the peak, {self.memory / 1e9:.2f} GB"
            )
        lines += [f"{indent} {1000 * seconds:9.1f} ms {part}" for part, seconds in self.parts.items()]
        return "\n".join(lines)

    @classmethod
    def of(cls, name: str, seconds: list[float], *, memory: int = 0, note: str = "") -> Figures:
        """Return the figures of something that was timed several times."""
        return cls(name, statistics.median(seconds), min(seconds), max(seconds), memory=memory, note=note)


class Meter:
    """Measures on one device.

    Args:
        precision: fp32, tf32 or bf16.
        compiled: whether to compile the losses of steps.
        steps: per repeat.
    """

    def __init__(
        self, device: torch.device, precision: str, compiled: bool, steps: int, repeats: int
    ) -> None:
        self.device, self.precision, self.compiled = device, precision, compiled
        self.steps, self.repeats = steps, repeats
        self._peak: float | None = None
        self._parts: dict[str, float] | None = None

    def job(self, name: str, task: int) -> Job:
        """Return the context of a training whose steps can be measured; it writes nothing."""
        return Job(name, 0, task, Path(), self.device, self.precision, compile=self.compiled)

    @property
    def peak(self) -> float:
        """Floating-point operations per second in this precision, at best: of a large matrix product or of a
        large convolution, whichever is faster."""
        if self._peak is None:
            dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32

            def random(*shape: int) -> torch.Tensor:
                tensor = torch.randn(*shape, device=self.device, dtype=dtype)
                return tensor.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else tensor

            a, b = random(PEAK_SIDE, PEAK_SIDE), random(PEAK_SIDE, PEAK_SIDE)
            images = random(PEAK_IMAGES, PEAK_CHANNELS, PEAK_IMAGE_SIDE, PEAK_IMAGE_SIDE)
            weights = random(PEAK_CHANNELS, PEAK_CHANNELS, 3, 3)
            of_product = 2 * PEAK_SIDE**3
            of_convolution = 2 * images.numel() * weights[0].numel()
            self._peak = max(
                of_product / self._fastest(lambda: a @ b),
                of_convolution / self._fastest(lambda: F.conv2d(images, weights, padding=1)),
            )
        return self._peak

    def _fastest(self, call: Callable[[], object]) -> float:
        """Seconds of the fastest of several calls; of a single one, if that takes long."""
        seconds: list[float] = []
        while len(seconds) < PEAK_CALLS and sum(seconds) < PEAK_SECONDS:
            self._wait()
            began = time.perf_counter()
            call()
            self._wait()
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    def step(self, name: str, step: Callable[[], object], images: int, note: str = "") -> Figures:
        """Measure a training step.

        Args:
            images: per step.
        """
        peak = self.peak
        for _ in range(WARM_UP_STEPS):
            step()
        operations = self._operations(step)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = self.seconds(step, self.steps)
        return Figures(
            name,
            statistics.median(seconds),
            min(seconds),
            max(seconds),
            images=images,
            operations=operations,
            peak_share=operations / statistics.median(seconds) / peak,
            memory=self._memory(),
            parts=self._of_parts(step),
            note=note,
        )

    def seconds(self, call: Callable[[], object], count: int) -> list[float]:
        """Return the seconds per call in each repeat of ``count`` calls, after one call to warm up."""
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

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Enclose a part of a step, which is timed separately."""
        if self._parts is None:
            yield
            return
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self._parts[name] = self._parts.get(name, 0.0) + time.perf_counter() - began

    def _of_parts(self, step: Callable[[], object]) -> dict[str, float]:
        """Mean seconds of the parts of a step; each waits for the device."""
        self._parts = {}
        for _ in range(self.steps):
            step()
        parts, self._parts = self._parts, None
        return {name: seconds / self.steps for name, seconds in parts.items()}

    def _operations(self, step: Callable[[], object]) -> int:
        counter = FlopCounterMode(display=False)
        # It would also count by module, which fails for a parameter that is expanded without gradients.
        counter.mod_tracker = _Whole()
        with torch.compiler.set_stance("force_eager"), counter:  # it cannot count in compiled code
            step()
        return int(counter.get_total_flops())

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _memory(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return bytes_of(resource.getrusage(resource.RUSAGE_SELF))


def bytes_of(usage: resource.struct_rusage) -> int:
    """Peak memory of a process."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Whole(ModuleTracker):
    """Treats a step as one module."""

    def __init__(self) -> None:
        super().__init__()
        self.parents = {"Global"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
