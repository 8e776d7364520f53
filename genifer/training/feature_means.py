"""Match the mean features of each class (dos Santos et al., 2019, generative feature matching networks)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from genifer.data.batches import Normalization, TaskData
from genifer.nn.generator import Generator
from genifer.runtime import parallel

PER_PASS = 250
"""Samples per pass of the classifier when the means are computed."""

OF_TEACHER = 100
"""Samples per old class that the teacher generates for its mean."""

SMALLEST = 0.01
"""Variance of a feature, relative to the mean over all features, below which it counts as this large."""

MEMORY = 0.05
"""Share of the running mean that one new sample of the class replaces."""


class FeatureMeans:
    """The distance of each class's mean features, of generated samples, to that of real ones.

    The means of generated samples are running ones, because a batch has few samples of a class. As in the
    rest of the training, the teacher's samples stand for real ones of the old classes.

    Args:
        features: pooled features (n, dim) of images, which are at stage 0, or of features of a stage.
        teacher: of the old classes; None on the first task.
        rng: for the teacher's samples only.
    """

    def __init__(
        self,
        features: Callable[[Tensor, int], Tensor],
        data: TaskData,
        normalize: Normalization,
        teacher: Generator | None,
        rng: torch.Generator,
    ) -> None:
        means, variances = [], []

        def add(of_class: Tensor) -> None:
            means.append(of_class.mean(0))
            variances.append(of_class.var(0, unbiased=False))

        with torch.no_grad():
            for label in range(data.n_old):
                assert teacher is not None
                labels = torch.full((OF_TEACHER,), label, device=data.labels.device)
                z = torch.randn(OF_TEACHER, teacher.latent_dim, generator=rng, device=data.labels.device)
                samples = teacher(z, labels, teacher.draw_noise(OF_TEACHER, rng)).float()
                add(features(samples, teacher.stage))
            for label in range(data.n_old, data.n_old + data.n_new):
                images = data.of_class(label).split(PER_PASS)
                add(torch.cat([features(normalize(some), 0) for some in images]))
        self.targets = torch.stack(means)
        variance = torch.stack(variances).mean(0)
        # Features that hardly vary would outweigh all others.
        self.scale = variance.clamp(min=float(SMALLEST * variance.mean())).rsqrt()
        self.running = self.targets.clone()

    def distance(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean over the samples of the squared distance of their class's running mean to its target.

        Each feature is measured in standard deviations within classes, so 1 means as far off as single images
        are. The gradient is that of the distance of the true mean, with the running one in its place.

        Args:
            features: (n, dim), of generated samples; they enter the running means.
            labels: (n,).
        """
        features = features.float()
        with torch.no_grad():
            counts = torch.zeros(len(self.running), device=labels.device).index_add_(
                0, labels, torch.ones_like(features[:, 0])
            )
            sums = torch.zeros_like(self.running).index_add_(0, labels, features)
            counts, sums = parallel.summed(counts), parallel.summed(sums)
            kept = (1 - MEMORY) ** counts[:, None]
            self.running.mul_(kept).add_((1 - kept) * sums / counts[:, None].clamp(min=1))
            off = ((self.running - self.targets) * self.scale)[labels]
            distance = off.square().mean()
        pull = 2 * (off * (features * self.scale)).mean()
        return distance + pull - pull.detach()

    def state_dict(self) -> dict[str, Tensor]:
        return {"running": self.running.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.running = state["running"].to(self.running.device)
