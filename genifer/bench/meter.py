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
"""The peak is measured by the fastest of at most so many matrix products and 3 x 3 convolutions within the
time. On some processors convolutions are faster than products."""


@dataclass(frozen=True)
class Figures:
    """The result of one benchmark.

    Attributes:
        seconds: seconds per step or call: the median over the repeats.
        fastest, slowest: the minimum and maximum.
        images: images per step; 0 for anything but a training step.
        operations: floating-point operations per step; a multiplication and an addition count as two.
        peak_share: the step's operations per second relative to the machine's peak (`Meter.peak`).
        memory: bytes: PyTorch's peak on a GPU, the process's peak so far on a CPU.
        parts: seconds per step of each part, measured separately.
        note: additional text.
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
        """Return the figures for repeated timings, in seconds."""
        return cls(name, statistics.median(seconds), min(seconds), max(seconds), memory=memory, note=note)


class Meter:
    """Measures time, operations and memory on one device.

    Args:
        precision: fp32, tf32 or bf16.
        compiled: whether to compile the losses of steps.
        steps: number of steps per repeat.
        repeats: number of repeats.
    """

    def __init__(
        self, device: torch.device, precision: str, compiled: bool, steps: int, repeats: int
    ) -> None:
        self.device, self.precision, self.compiled = device, precision, compiled
        self.steps, self.repeats = steps, repeats
        self._peak: float | None = None
        self._parts: dict[str, float] | None = None

    def job(self, name: str, task: int) -> Job:
        """Return the context of a training whose steps are to be measured; it writes no files."""
        return Job(name, 0, task, Path(), self.device, self.precision, compile=self.compiled)

    @property
    def peak(self) -> float:
        """Peak floating-point operations per second in this precision.

        Measured with a large matrix product and a large convolution, whichever is faster.
        """
        if self._peak is None:
            dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32

            def random(*shape: int) -> torch.Tensor:
                tensor = torch.randn(*shape, device=self.device, dtype=dtype)
                return tensor.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else tensor

            a, b = random(PEAK_SIDE, PEAK_SIDE), random(PEAK_SIDE, PEAK_SIDE)
            images = random(PEAK_IMAGES, PEAK_CHANNELS, PEAK_IMAGE_SIDE, PEAK_IMAGE_SIDE)
            weights = random(PEAK_CHANNELS, PEAK_CHANNELS, 3, 3)
            product_operations = 2 * PEAK_SIDE**3
            convolution_operations = 2 * images.numel() * weights[0].numel()
            self._peak = max(
                product_operations / self._fastest(lambda: a @ b),
                convolution_operations / self._fastest(lambda: F.conv2d(images, weights, padding=1)),
            )
        return self._peak

    def _fastest(self, call: Callable[[], object]) -> float:
        """Return the seconds of the fastest of several calls; slow calls are repeated less often."""
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
            name: name of the benchmark.
            step: takes one step.
            images: number of images per step.
            note: additional text.
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
            parts=self._seconds_of_parts(step),
            note=note,
        )

    def seconds(self, call: Callable[[], object], count: int) -> list[float]:
        """Return the seconds per call in each repeat of ``count`` calls, after a warm-up call."""
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
        """Context manager: time a part of a step separately."""
        if self._parts is None:
            yield
            return
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self._parts[name] = self._parts.get(name, 0.0) + time.perf_counter() - began

    def _seconds_of_parts(self, step: Callable[[], object]) -> dict[str, float]:
        """Return the mean seconds of each part of a step, including waiting for the device."""
        self._parts = {}
        for _ in range(self.steps):
            step()
        parts, self._parts = self._parts, None
        return {name: seconds / self.steps for name, seconds in parts.items()}

    def _operations(self, step: Callable[[], object]) -> int:
        counter = FlopCounterMode(display=False)
        # Counting per module, the default, fails for a parameter that is expanded without gradients.
        counter.mod_tracker = _Whole()
        with torch.compiler.set_stance("force_eager"), counter:  # compiled code cannot be counted
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
    """Return the peak memory of a process, in bytes."""
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
