"""Elastic weight consolidation (Kirkpatrick et al., 2017) in its online form (Schwarz et al., 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from genifer.methods.method import Batch, Method
from genifer.settings import Fraction, PositiveInt, TrainingSettings, Weight

if TYPE_CHECKING:
    from torch import Tensor


class EwcSettings(TrainingSettings):
    """Settings of elastic weight consolidation."""

    strength: Weight = Field(100.0, description="weight of the penalty")
    decay: Fraction = Field(
        1.0, description="factor on the importances of old tasks when those of a new task are added"
    )
    importance_images: PositiveInt = Field(
        1_000, description="maximum number of images per task from which importances are estimated"
    )


class Ewc(Method):
    """Elastic weight consolidation: new images only; weights important for old tasks change little.

    Equation 3 of Kirkpatrick et al. (2017) with one penalty for all old tasks, around the weights after the
    previous task (Schwarz et al., 2018, section 4). Importances are the mean squared gradients of the
    log-likelihood of each image's label. The head's rows for new classes are not penalised.
    """

    name = "ewc"
    version = 1
    Settings = EwcSettings
    splits_batches = True
    first_task = "memory"
    settings: EwcSettings

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy plus the squared distance to the old weights, weighted by importance."""
        import torch

        scalars = super().losses(batch)
        penalty = torch.zeros_like(scalars["loss"])
        for name, weight in self.classifier.named_parameters():
            if not weight.requires_grad:
                continue
            old, importance = self.memory[f"old.{name}"], self.memory[f"importance.{name}"]
            penalty += (importance * (weight[: len(old)] - old).square()).sum()
        return scalars | {"loss": scalars["loss"] + self.settings.strength / 2 * penalty, "penalty": penalty}

    def finish(self) -> dict[str, Tensor]:
        """Keep the weights, and add this task's importances to those of the old tasks."""
        import torch
        import torch.nn.functional as F

        weights = {
            name: weight for name, weight in self.classifier.named_parameters() if weight.requires_grad
        }
        importances = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for name, importance in importances.items():
            if (before := self.memory.get(f"importance.{name}")) is not None:
                importance[: len(before)] = self.settings.decay * before  # the head has grown since
        order = torch.randperm(len(self.data.labels), generator=self.rng, device=self.data.labels.device)
        chosen = order[: self.settings.importance_images]
        for row in chosen[:, None]:
            logits = self.classifier(self.normalize(self.data.images[row]))
            loss = F.cross_entropy(logits, self.data.labels[row])
            for name, gradient in zip(
                weights, torch.autograd.grad(loss, list(weights.values())), strict=True
            ):
                importances[name] += gradient.square() / len(chosen)
        return {f"old.{name}": weight.detach() for name, weight in weights.items()} | {
            f"importance.{name}": importance for name, importance in importances.items()
        }
