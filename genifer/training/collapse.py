"""Detection of a collapsed GAN, whose training continues without learning anything."""

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
"""Number of equal windows into which a training is divided; all but the first are checked."""
SHORTEST_WINDOW = 100
"""Minimum length of a window, in steps."""

CHANCE_LOSS = 2 * math.log(2)
"""Loss of a discriminator that cannot tell real samples from generated ones."""


class Collapse:
    """Detects a collapse from three scalars, each of which is about 1 in a healthy training.

    A GAN has collapsed if the mean of one of these over a window is below the limit:

    - ``diversity`` of the generator (see `Diversity`): its images of a class are all the same; above
      1 / limit, they have nothing in common with real images,
    - ``d_spread``, the standard deviation of the discriminator's logits in a batch: it rates all
      images equally,
    - ``d_loss``, relative to `CHANCE_LOSS`: the discriminator has won, and no longer learns.

    Args:
        limit: the limit, ``runtime.collapse_limit``; 0 disables the check.
        steps: number of steps of the training.
    """

    def __init__(self, limit: float, steps: int) -> None:
        self.limit = limit
        self.window = max(steps // WINDOWS, SHORTEST_WINDOW)
        self.values: dict[str, list[float]] = {}

    def due(self, step: int) -> bool:
        """Return whether a window ends after a step (counted from 0), when `judge` needs the diversity."""
        return (step + 1) % self.window == 0

    def judge(self, step: int, scalars: Mapping[str, float]) -> str | None:
        """Take the scalars of a step (counted from 0); return an error message if the GAN has collapsed."""
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
                "the discriminator has won and the generator no longer keeps up: its loss is "
                f"{means['d_loss'] / CHANCE_LOSS:.3g} times the loss at chance {over}"
            )
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"values": {name: list(values) for name, values in self.values.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.values = state["values"]


class Diversity:
    """Computes how much generated images of a class differ from each other, relative to real images.

    The diversity is the mean distance between the features (at the matching stage) of two generated
    images of a class, divided by that of two real images. For old classes the teacher's images take the
    place of real images, as in the training. Every call compares the same classes and latents, which are
    drawn from a generator of their own.

    Args:
        teacher: the previous task's generator; None on the first task.
        features: computes the features of real images at the matching stage.
        discriminator_input: computes the features of generated samples that the discriminator gets.
        pairs: number of pairs to compare.
        seed: of the classes and latents.
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
        self.real_distance = torch.cat(distances).mean()

    @torch.no_grad()
    def __call__(self, generator: Generator) -> Tensor:
        with self.autocast():
            samples = generator(self.z, self.labels, self.noise).float()
            features = self.discriminator_input(samples, None).float()
        return _distances(*features.chunk(2)).mean() / self.real_distance

    @staticmethod
    def _another(labels: Tensor, index: int, rng: torch.Generator) -> Tensor:
        """Draw another image of the same class, or the image itself if it is the only one."""
        same = torch.nonzero(labels == labels[index]).squeeze(1)
        others = same[same != index]
        others = others if len(others) else same
        return others[torch.randint(len(others), (), generator=rng, device=labels.device)]


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).flatten(1).norm(dim=1)
