"""The clock of the benchmarks: repeats, operations, memory, and the parts of a step."""

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

from genifer.training.stage import Stage

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

    def __str__(self) -> str:
        lines = [
            f"{self.name:27} {1000 * self.seconds:9.1f} ms "
            f"({1000 * self.fastest:.1f} to {1000 * self.slowest:.1f})  {self.note}"
        ]
        if self.images:
            lines.append(
                f"{'':27} {self.images / self.seconds:9.1f} images/s, {self.operations / 1e9:.1f} G "
                f"operations, {self.peak_share:.0%} of the peak, {self.memory / 1e9:.2f} GB"
            )
        lines += [f"{'':27} {1000 * seconds:9.1f} ms {part}" for part, seconds in self.parts.items()]
        return "\n".join(lines)

    @classmethod
    def of(cls, name: str, seconds: list[float], *, memory: int = 0, note: str = "") -> Figures:
        """Figures of something that was timed several times."""
        return cls(name, statistics.median(seconds), min(seconds), max(seconds), memory=memory, note=note)


class Meter:
    """Measures on one device.

    Args:
        compiled: whether the losses of steps are compiled.
        steps: in each repeat.
    """

    def __init__(
        self, device: torch.device, precision: str, compiled: bool, steps: int, repeats: int
    ) -> None:
        self.device, self.precision, self.compiled = device, precision, compiled
        self.steps, self.repeats = steps, repeats
        self._peak: float | None = None
        self._parts: dict[str, float] | None = None

    def stage(self, name: str, task: int) -> Stage:
        """A stage whose steps can be measured; it writes nothing."""
        return Stage(name, 0, task, Path(), self.device, self.precision, compile=self.compiled)

    @property
    def peak(self) -> float:
        """Floating-point operations a second of a large matrix product in this precision, at best."""
        if self._peak is None:
            dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
            a, b = (torch.randn(PEAK_SIDE, PEAK_SIDE, device=self.device, dtype=dtype) for _ in range(2))
            self._peak = 2 * PEAK_SIDE**3 / min(self.seconds(lambda: a @ b, 5))
        return self._peak

    def step(self, name: str, step: Callable[[], object], images: int, note: str = "") -> Figures:
        """Figures of a step of a training, on so many images."""
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

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part of a step, which is timed when parts are."""
        if self._parts is None:
            yield
            return
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self._parts[name] = self._parts.get(name, 0.0) + time.perf_counter() - began

    def _of_parts(self, step: Callable[[], object]) -> dict[str, float]:
        """Mean seconds of the parts of a step; the device is waited for after each of them."""
        self._parts = {}
        for _ in range(self.steps):
            step()
        parts, self._parts = self._parts, None
        return {name: seconds / self.steps for name, seconds in parts.items()}

    def _operations(self, step: Callable[[], object]) -> int:
        counter = FlopCounterMode(display=False)
        # By module it would count, too, which trips over a parameter that is expanded without gradients.
        counter.mod_tracker = _Whole()
        with torch.compiler.set_stance("force_eager"), counter:  # compiled code is not looked into
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
    """The most memory that a process had."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Whole(ModuleTracker):
    """Takes a step for one module."""

    def __init__(self) -> None:
        super().__init__()
        self.parents = {"Global"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
