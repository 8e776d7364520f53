"""The figures of the published implementation, and the weights and inputs behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Reference:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = self.json("manifest.json")
        self.base = self.manifest["seed_base"]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / name) as file:
            return dict(file)

    def draw(self, offset: int, *shape: int) -> Tensor:
        return torch.from_numpy(_draw(self.base + offset, shape))

    def integers(self, offset: int, low: int, high: int, n: int) -> Tensor:
        return torch.from_numpy(np.random.RandomState(self.base + offset).randint(low, high, n))

    def noise(self, offset: int, n: int, sides: tuple[int, ...] = (4, 4, 8, 8, 16, 16, 32)) -> list[Tensor]:
        return [self.draw(offset + index, n, 1, side, side) for index, side in enumerate(sides)]

    def classifiers(self) -> tuple[str, str]:
        """The old and the grown classifier of the manifest, by the classes that they know."""
        modules = self.manifest["modules"]
        names = [name for name in modules if name.startswith("classifier")]

        def n_classes(name: str) -> int:
            return sum(
                shape[0] for entry, shape in modules[name]["entries"] if entry.endswith("readout.bias")
            )

        old, grown = sorted(names, key=n_classes)
        return old, grown

    def state(self, module: str, seed: int | None = None) -> dict[str, Tensor]:
        """Weights of a module of the manifest, with its own seed or, as offset from the base, another one."""
        entry = self.manifest["modules"][module]
        first = entry["seed"] if seed is None else self.base + seed
        classifier = module.startswith("classifier")
        state = {}
        for index, (name, shape) in enumerate(entry["entries"]):
            if name.endswith("num_batches_tracked"):
                state[name] = torch.zeros((), dtype=torch.int64)
                continue
            drawn = torch.from_numpy(_draw(first + index, tuple(shape)))
            scaled = _classifier_entry(name, drawn) if classifier else _gan_entry(name, drawn)
            state[name] = torch.zeros(()) if drawn.dim() == 0 else scaled
        return state


def _draw(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.random.RandomState(seed).standard_normal(shape), dtype=np.float32)


def _classifier_entry(name: str, r: Tensor) -> Tensor:
    if name.endswith("running_var"):
        return 1 + 0.1 * r.abs()
    if name.endswith(("running_mean", "bias")):
        return 0.1 * r
    if r.dim() == 4:
        return r * (2 / r[0].numel()) ** 0.5
    if r.dim() == 2:
        return r * (1 / r.shape[1]) ** 0.5
    return 1 + 0.1 * r


def _gan_entry(name: str, r: Tensor) -> Tensor:
    if name.endswith("noise_scale"):
        return 0.1 * r
    if name.endswith(".y1.bias"):
        return 1 + 0.1 * r
    if name.endswith("bias"):
        return 0.1 * r
    if name in ("w1.weight", "w2.weight"):
        return 100 * r
    return r
