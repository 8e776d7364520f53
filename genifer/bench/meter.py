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
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from genifer.training.job import Job

NAME_WIDTH = 33
WARM_UP_STEPS = 2
PEAK_SIDE = 2048
PEAK_PRODUCTS, PEAK_SECONDS = 25, 5.0
"""The peak is that of the fastest of so many matrix products, or of as many as fit into the time."""


@dataclass(frozen=True)
class Figures:
    """The result of one benchmark.

    Attributes:
        seconds: per step or call: median over the repeats; ``fastest`` and ``slowest`` are the extremes.
        images: per step; 0 if it is no training step.
        operations: floating-point operations per step, counted: multiply and add are two.
        peak_share: share of the speed of this machine's fastest matrix product that the step reaches.
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
        """Floating-point operations per second of a large matrix product in this precision, at best."""
        if self._peak is None:
            dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
            a, b = (torch.randn(PEAK_SIDE, PEAK_SIDE, device=self.device, dtype=dtype) for _ in range(2))
            seconds: list[float] = []
            # Some processors have no fast product of bfloat16: one of them says enough.
            while len(seconds) < PEAK_PRODUCTS and sum(seconds) < PEAK_SECONDS:
                self._wait()
                began = time.perf_counter()
                _ = a @ b
                self._wait()
                seconds.append(time.perf_counter() - began)
            self._peak = 2 * PEAK_SIDE**3 / min(seconds)
        return self._peak

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
