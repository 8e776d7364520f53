"""Analytic class-incremental learning (Zhuang et al., 2022): ridge regression, updated after each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from genifer.methods.frozen import FrozenExtractor
from genifer.settings import FrozenSettings, PositiveFloat, PositiveInt, Weight

if TYPE_CHECKING:
    from torch import Tensor


class AcilSettings(FrozenSettings):
    """Settings of the ridge regression."""

    expansion: PositiveInt = Field(
        2_000, description="number of random features to which the pooled features are mapped"
    )
    ridge: PositiveFloat = Field(0.1, description="weight of the squared norm of the regression's weights")
    compensation: Weight = Field(
        0.0,
        description="weight of a second regression, on other features, of the residuals of the first "
        "(DS-AL); 0: none",
    )


class Acil(FrozenExtractor):
    """Frozen extractor: ridge regression on random features, equal to one fit to all tasks so far.

    ACIL of Zhuang et al. (2022, section 3): after each task the weights equal those of one regression over
    all tasks so far. The paper updates the inverse of the autocorrelation; this code stores the
    autocorrelation and solves the linear system, with the same result. ``compensation`` adds the second
    stream of DS-AL (Zhuang et al., 2024): tanh instead of ReLU, fitted to the residuals of the new classes
    only. The memory holds the weights and one matrix per stream, whose size does not depend on the number
    of classes.
    """

    name = "acil"
    version = 1
    Settings = AcilSettings
    only_for_training = ("main.autocorrelation", "second.autocorrelation")
    settings: AcilSettings

    def finish(self) -> dict[str, Tensor]:
        """Update the regression with the task's images."""
        import torch
        import torch.nn.functional as F

        features, labels = self.features_of_task()
        n_old, n_new = self.data.n_old, self.data.n_new
        memory = dict(self.memory)
        if not memory:
            shape = features.shape[1], self.settings.expansion
            projection = torch.randn(shape, generator=self.rng, device=features.device)
            memory["projection"] = projection / shape[0] ** 0.5
        projected = features @ memory["projection"]
        targets = F.one_hot(labels, n_old + n_new).double()
        expanded = projected.relu().double()
        self._update(memory, "main", expanded, targets)
        if self.settings.compensation:
            targets -= expanded @ memory["main.weights"]
            targets[:, :n_old] = 0
            self._update(memory, "second", projected.tanh().double(), targets)
        return memory

    def _update(self, memory: dict[str, Tensor], stream: str, inputs: Tensor, targets: Tensor) -> None:
        """Add inputs (n, expansion) and targets (n, classes) to the regression of a stream.

        Raises:
            GeniferError: the ridge is so small that rounding makes the system singular.
        """
        import torch
        import torch.nn.functional as F

        from genifer.errors import GeniferError

        dim, n_classes = inputs.shape[1], targets.shape[1]
        before = memory.get(f"{stream}.autocorrelation")
        if before is None:
            before = self.settings.ridge * torch.eye(dim, dtype=torch.float64, device=inputs.device)
            weights = torch.zeros(dim, n_classes, dtype=torch.float64, device=inputs.device)
        else:
            weights = F.pad(
                memory[f"{stream}.weights"], (0, n_classes - memory[f"{stream}.weights"].shape[1])
            )
        autocorrelation = before + inputs.T @ inputs
        factor, failed = torch.linalg.cholesky_ex(autocorrelation)
        if failed:
            raise GeniferError(
                f"acil.ridge: {self.settings.ridge} is too small for acil.expansion: {dim}: the regression "
                "has no unique solution; raise acil.ridge"
            )
        change = torch.cholesky_solve(inputs.T @ (targets - inputs @ weights), factor)
        memory[f"{stream}.autocorrelation"] = autocorrelation
        memory[f"{stream}.weights"] = weights + change

    def logits(self, images: Tensor) -> Tensor:
        """Return the predictions of the regressions."""
        projected = self.features(images) @ self.memory["projection"]
        logits = projected.relu() @ self.memory["main.weights"].float()
        if self.settings.compensation:
            logits += self.settings.compensation * (projected.tanh() @ self.memory["second.weights"].float())
        return logits
