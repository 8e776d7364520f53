"""Memory aware synapses (Aljundi et al., 2018, section 4), a method in one file."""

import torch
from pydantic import Field

from genifer.methods import Method, TrainingSettings


class Mas(Method):
    """Memory aware synapses: new images only; weights that old outputs are sensitive to change little."""

    class Settings(TrainingSettings):
        strength: float = Field(1.0, ge=0, description="weight of the penalty")

    name = "mas"
    first_task = "memory"

    def weights(self):
        return {name: weight for name, weight in self.classifier.named_parameters() if weight.requires_grad}

    def losses(self, batch):
        scalars = super().losses(batch)
        penalty = torch.zeros_like(scalars["loss"])
        for name, weight in self.weights().items():
            old, importance = self.memory[f"old.{name}"], self.memory[f"importance.{name}"]
            penalty += (importance * (weight[: len(old)] - old).square()).sum()
        return scalars | {"loss": scalars["loss"] + self.settings.strength * penalty, "penalty": penalty}

    def finish(self):
        memory, weights = {}, self.weights()
        for name, weight in weights.items():
            importance = torch.zeros_like(weight)
            if (before := self.memory.get(f"importance.{name}")) is not None:
                importance[: len(before)] = before  # the head has grown since
            memory |= {f"old.{name}": weight, f"importance.{name}": importance}
        for images, _ in self.ordered_batches():
            length = self.classifier(images).square().sum() / len(self.data.images)
            for name, gradient in zip(weights, torch.autograd.grad(length, weights.values()), strict=True):
                memory[f"importance.{name}"] += gradient.abs()
        return memory
