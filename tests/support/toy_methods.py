"""Small methods, each of which uses another part of the contract; a plugin for tests.

They are made to be short, not to learn well.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genifer.methods import Batch, Method, TrainingSettings
from genifer.nn.losses import cross_entropy_and_accuracy
from genifer.nn.stages import POOLED
from genifer.training.replay import generate_replay


class Anchored(Method):
    """Keeps weights that were important for a task near their values."""

    name = "toy_anchored"
    first_task = "memory"

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        scalars, memory = super().losses(batch), self.memory
        distances = [
            (memory[f"importance.{name}"] * (weight - memory[f"anchor.{name}"]).square()).sum()
            for name, weight in self.classifier.stages.named_parameters()
        ]
        penalty = torch.stack(distances).sum()
        return {**scalars, "loss": scalars["loss"] + penalty, "penalty": penalty}

    def finish(self) -> dict[str, Tensor]:
        weights = dict(self.classifier.stages.named_parameters())
        memory = {f"anchor.{name}": weight.detach().clone() for name, weight in weights.items()}
        memory |= {f"importance.{name}": torch.zeros_like(weight) for name, weight in weights.items()}
        for images, labels in self.ordered_batches():
            loss = F.cross_entropy(self.classifier(images), labels)
            for name, gradient in zip(
                weights, torch.autograd.grad(loss, list(weights.values())), strict=True
            ):
                memory[f"importance.{name}"] += gradient.square()
        return memory


class Prepared(Method):
    """Replays images that the teacher was inverted to at the start of the task."""

    name = "toy_prepared"
    uses_teacher = True
    prepared_times: ClassVar[int] = 0

    def prepare(self) -> dict[str, Tensor]:
        Prepared.prepared_times += 1
        labels = torch.randint(self.data.n_old, (8,), generator=self.rng, device=self.job.device)
        size = (8, *self.data.images.shape[1:])
        images = torch.randn(size, generator=self.rng, device=self.job.device, requires_grad=True)
        optimizer = torch.optim.SGD([images], lr=1.0)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(self.teacher(images), labels).backward()
            optimizer.step()
        return {"images": images.detach(), "labels": labels}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        images = torch.cat([batch.images, self.prepared["images"]])
        labels = torch.cat([batch.labels, self.prepared["labels"]])
        return cross_entropy_and_accuracy(self.classifier(images), labels)


class NearestMeanSettings(TrainingSettings):
    """It trains nothing."""

    steps: Annotated[int, Field(ge=0)] = Field(0, description="optimizer steps per task")


class NearestMean(Method):
    """Classifies by the nearest mean of a class's features, and trains nothing."""

    name = "toy_nearest_mean"
    Settings = NearestMeanSettings
    first_task = "memory"

    @torch.no_grad()
    def finish(self) -> dict[str, Tensor]:
        pairs = [
            (self.classifier.features(images, POOLED), labels) for images, labels in self.ordered_batches()
        ]
        features, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        new = range(self.data.n_old, self.data.n_old + self.data.n_new)
        means = [features[labels == label].mean(0) for label in new]
        return {"means": torch.stack([*self.memory.get("means", []), *means])}

    def logits(self, images: Tensor) -> Tensor:
        return -torch.cdist(self.classifier.features(images, POOLED), self.memory["means"])


class OwnFirstTask(Method):
    """Trains the first task itself, on its images and on the same ones upside down."""

    name = "toy_own_first_task"
    first_task = "own"

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if self.data.n_old:
            return super().losses(batch)
        images = torch.cat([batch.images, batch.images.flip(2)])
        return cross_entropy_and_accuracy(self.classifier(images), batch.labels.repeat(2))


class Exemplars(Method):
    """Keeps two images of each class, and adds them to every batch."""

    name = "toy_exemplars"
    first_task = "memory"
    stores_exemplars = True

    def draw_batch(self) -> Batch:
        images, labels = next(self.batches)
        images = self.normalize(torch.cat([images, self.memory["images"]]))
        return Batch(self.augment(images), torch.cat([labels, self.memory["labels"]]))

    def finish(self) -> dict[str, Tensor]:
        new = range(self.data.n_old, self.data.n_old + self.data.n_new)
        kept = torch.cat([torch.nonzero(self.data.labels == label)[:2, 0] for label in new])
        found = {"images": self.data.images[kept], "labels": self.data.labels[kept]}
        return {name: torch.cat([self.memory[name], found[name]]) for name in found} if self.memory else found


class OwnGan(Method):
    """Replays each old class as often as it had images, with the label that was asked of its GAN."""

    name = "toy_own_gan"
    first_task = "memory"
    uses_gan = True

    def draw_batch(self) -> Batch:
        images, labels = next(self.batches)
        n, rng = len(labels), self.rng
        old_labels = torch.multinomial(self.memory["counts"], n, replacement=True, generator=rng)
        z = torch.randn(n, self.generator.latent_dim, generator=rng, device=self.job.device)
        noise = self.generator.draw_noise(n, rng)
        replay = generate_replay(self.generator, z, old_labels, noise, self.normalize)
        images = self.augment(torch.cat([replay, self.normalize(images)]))
        return Batch(images, torch.cat([old_labels, labels]))

    def finish(self) -> dict[str, Tensor]:
        counts = torch.bincount(self.data.labels, minlength=self.data.n_old + self.data.n_new).float()
        if self.memory:
            counts[: self.data.n_old] = self.memory["counts"]
        return {"counts": counts}
