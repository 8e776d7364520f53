"""Matching of each class's mean features (dos Santos et al., 2019, generative feature matching networks)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from genifer.data.batches import Normalization, TaskData
from genifer.nn.generator import Generator
from genifer.runtime import parallel

PER_PASS = 250
"""Samples per forward pass of the classifier when the means of real images are computed."""

OF_TEACHER = 100
"""Samples that the teacher generates per old class to compute its mean."""

SMALLEST = 0.01
"""Lower limit of a feature's variance, relative to the mean variance over all features."""

MEMORY = 0.05
"""Fraction of a class's running mean that one new sample replaces."""


class FeatureMeans:
    """Computes the distance between the mean features of generated and real samples of each class.

    The means of generated samples are running means, because a batch holds few samples of each class. As in
    the rest of the training, the teacher's samples take the place of real images of old classes.

    Args:
        features: computes the pooled features (n, dim) of images (stage 0) or of features of a stage.
        teacher: the previous task's generator; None on the first task.
        rng: random generator, used only for the teacher's samples.
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
        """Return the squared distance of each sample's class mean to its target, averaged over the samples.

        Each feature is measured in standard deviations within classes, so a value of 1 means as far from the
        target as a single real image is on average. The gradient is that of the distance of the batch's
        means, evaluated at the running means.

        Args:
            features: (n, dim): features of generated samples, which update the running means.
            labels: (n,): the samples' classes.
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
            difference = ((self.running - self.targets) * self.scale)[labels]
            distance = difference.square().mean()
        surrogate = 2 * (difference * (features * self.scale)).mean()  # has the gradient, not the value
        return distance + surrogate - surrogate.detach()

    def state_dict(self) -> dict[str, Tensor]:
        return {"running": self.running.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.running = state["running"].to(self.running.device)
