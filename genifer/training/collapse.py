"""Detect a GAN that has collapsed: its training continues, but it learns nothing any more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from genifer.data.batches import Normalization, TaskData
from genifer.nn.ada import Amounts
from genifer.nn.generator import Generator

WINDOWS = 20
"""A training is judged in this many equal windows, except the first."""
SHORTEST_WINDOW = 100
"""Steps."""

CHANCE_LOSS = 2 * math.log(2)
"""Loss of a discriminator that cannot tell real from generated."""


class Collapse:
    """Judges a GAN by three figures, all of them about 1 in a sound training.

    A GAN has collapsed when, over one window of its training, one of these is below the limit:

    - ``diversity``, of the generator (see `Diversity`): its images of a class are all the same, or,
      where it is above 1 / limit, have nothing in common with real ones,
    - ``d_spread``, the standard deviation of the discriminator's logits in a batch: it says the
      same of all images,
    - ``d_loss``, relative to that of a discriminator that cannot tell: it has won, and does not
      learn any more.

    Args:
        limit: 0 never judges.
    """

    def __init__(self, limit: float, steps: int) -> None:
        self.limit = limit
        self.window = max(steps // WINDOWS, SHORTEST_WINDOW)
        self.values: dict[str, list[float]] = {}

    def due(self, step: int) -> bool:
        """Whether diversity is due after a step (counted from 0)."""
        return (step + 1) % self.window == 0

    def judge(self, step: int, scalars: Mapping[str, float]) -> str | None:
        """Take the scalars of a step (counted from 0); return an error message if they show a collapse."""
        for name in ("d_loss", "d_spread", "diversity"):
            if name in scalars:
                self.values.setdefault(name, []).append(scalars[name])
        if not self.due(step):
            return None
        means = {name: sum(values) / len(values) for name, values in self.values.items()}
        self.values.clear()
        if step < self.window:
            return None
        over = f"over the last {self.window:,} steps; runtime.collapse_limit is {self.limit:g}"
        if not self.limit <= means["diversity"] <= 1 / max(self.limit, 1e-30):
            return (
                "the generator has collapsed: its images of a class differ "
                f"{means['diversity']:.3g} times as much as real ones {over}"
            )
        if means["d_spread"] < self.limit:
            return (
                "the discriminator has collapsed: its logits have a standard deviation of "
                f"{means['d_spread']:.3g} {over}"
            )
        if means["d_loss"] / CHANCE_LOSS < self.limit:
            return (
                "the discriminator has won and the generator does not follow: its loss is "
                f"{means['d_loss'] / CHANCE_LOSS:.3g} of that of one which cannot tell {over}"
            )
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"values": {name: list(values) for name, values in self.values.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.values = state["values"]


class Diversity:
    """How much generated images of one class differ, relative to real ones.

    The figure is the mean distance between the features (at the matching stage) of two generated
    images of a class, divided by that of two real ones; for old classes the old generator's images
    stand for real ones, as in the training. Always the same classes and latents are compared,
    half a batch of pairs, which have random numbers of their own.

    Args:
        teacher: the old generator; None on the first task.
        features: of real images at the matching stage.
        discriminator_input: features of generated samples, as the discriminator sees them.
        pairs: number of pairs that are compared.
    """

    def __init__(
        self,
        generator: Generator,
        teacher: Generator | None,
        features: Callable[[Tensor], Tensor],
        discriminator_input: Callable[[Tensor, Amounts | None], Tensor],
        autocast: Callable[[], AbstractContextManager[object]],
        pairs: int,
        data: TaskData,
        normalize: Normalization,
        seed: int,
    ) -> None:
        self.discriminator_input, self.autocast = discriminator_input, autocast
        device = data.labels.device
        rng = torch.Generator(device).manual_seed(seed)
        n_old = pairs // 2 if teacher is not None else 0
        old = torch.randint(max(data.n_old, 1), (n_old,), generator=rng, device=device)
        first = torch.randint(len(data.labels), (pairs - n_old,), generator=rng, device=device)
        second = torch.stack([self._another(data.labels, int(index), rng) for index in first])
        self.labels = torch.cat([old, data.labels[first]]).repeat(2)
        self.z = torch.randn(2 * pairs, generator.latent_dim, generator=rng, device=device)
        self.noise = generator.draw_noise(2 * pairs, rng)

        with torch.no_grad(), autocast():
            images = normalize(data.images[torch.cat([first, second])])
            real = features(images).float().chunk(2)
            distances = [_distances(*real)]
            if teacher is not None and n_old:
                is_old = torch.cat([torch.arange(n_old), pairs + torch.arange(n_old)]).to(device)
                noise = [noise[is_old] for noise in self.noise]
                samples = teacher(self.z[is_old], self.labels[is_old], noise).float()
                distances.append(_distances(*discriminator_input(samples, None).float().chunk(2)))
        self.of_real = torch.cat(distances).mean()

    @torch.no_grad()
    def __call__(self, generator: Generator) -> Tensor:
        with self.autocast():
            samples = generator(self.z, self.labels, self.noise).float()
            features = self.discriminator_input(samples, None).float()
        return _distances(*features.chunk(2)).mean() / self.of_real

    @staticmethod
    def _another(labels: Tensor, index: int, rng: torch.Generator) -> Tensor:
        """Another image of the same class, where there is one."""
        same = torch.nonzero(labels == labels[index]).squeeze(1)
        others = same[same != index]
        others = others if len(others) else same
        return others[torch.randint(len(others), (), generator=rng, device=labels.device)]


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).flatten(1).norm(dim=1)
