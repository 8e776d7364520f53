"""Optimizers and their learning-rate schedules, from the settings."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import (
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
)

from genifer.settings import OptimizerSettings

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def make_optimizer(
    settings: OptimizerSettings, parameters: Iterable[nn.Parameter], steps: int
) -> tuple[torch.optim.Optimizer, Schedule]:
    """Build an optimizer for the parameters that are not frozen, and its learning-rate schedule."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer: torch.optim.Optimizer
    match settings.name:
        case "sgd":
            optimizer = eager(torch.optim.SGD)(
                parameters,
                settings.learning_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                nesterov=settings.momentum > 0,
                fused=True,
            )
        case "adam":
            optimizer = eager(torch.optim.Adam)(
                parameters,
                settings.learning_rate,
                weight_decay=settings.weight_decay,
                amsgrad=True,
                fused=True,
            )
        case "radam":
            optimizer = eager(torch.optim.RAdam)(
                parameters,
                settings.learning_rate,
                weight_decay=settings.weight_decay,
                decoupled_weight_decay=True,
                foreach=True,
            )
    return optimizer, Schedule(settings, optimizer, steps)


def eager(kind: type[Kind]) -> type[Kind]:
    """Return a subclass of an optimizer whose methods lack PyTorch's guards against compilation.

    The guards import torch._dynamo, which delays a training's start by more than a second, and optimizers
    are never compiled here.
    """
    guarded = ("add_param_group", "zero_grad", "step", "state_dict", "load_state_dict")
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in guarded}
    plain["step"] = torch.no_grad()(plain["step"])
    return type(kind.__name__, (kind,), plain)


class Schedule:
    """The learning-rate schedule; call `step` after every step of the optimizer.

    Milestones are counted in steps; the other schedules change the rate at the end of an epoch, one of
    ``epochs`` equal parts of the steps.
    """

    def __init__(self, settings: OptimizerSettings, optimizer: torch.optim.Optimizer, steps: int) -> None:
        self.epoch_ends = [round((epoch + 1) * steps / settings.epochs) for epoch in range(settings.epochs)]
        self.done = 0
        self.losses: list[Tensor] = []
        self.every_step: LRScheduler | None = None
        self.every_epoch: LRScheduler | None = None
        self.plateau: ReduceLROnPlateau | None = None
        match settings.schedule:
            case "multistep":
                milestones = [round(share * steps) for share in settings.milestones]
                self.every_step = MultiStepLR(optimizer, milestones, settings.factor)
            case "linear":
                last = max(settings.epochs - 1, 1)
                self.every_epoch = LambdaLR(optimizer, lambda epoch: max(1 - 0.9 * epoch / last, 0.1))
            case "exponential":
                self.every_epoch = ExponentialLR(optimizer, settings.factor)
            case "plateau":
                self.plateau = ReduceLROnPlateau(
                    optimizer,
                    factor=settings.factor,
                    patience=settings.patience,
                    threshold=settings.threshold,
                    threshold_mode="abs",
                    min_lr=settings.minimum,
                )

    def state_dict(self) -> dict[str, Any]:
        schedulers = {name: scheduler.state_dict() for name, scheduler in self._schedulers().items()}
        return {"done": self.done, "losses": self.losses, "schedulers": schedulers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.done, self.losses = state["done"], list(state["losses"])
        self.epoch_ends = [end for end in self.epoch_ends if end > self.done]
        for name, scheduler in self._schedulers().items():
            scheduler.load_state_dict(state["schedulers"][name])

    def _schedulers(self) -> dict[str, LRScheduler]:
        named = {"every_step": self.every_step, "every_epoch": self.every_epoch, "plateau": self.plateau}
        return {name: scheduler for name, scheduler in named.items() if scheduler is not None}

    def step(self, loss: Tensor) -> None:
        """Count a step; the plateau schedule monitors the mean of ``loss`` over an epoch."""
        self.done += 1
        if self.every_step is not None:
            self.every_step.step()
            return
        if self.plateau is not None:
            self.losses.append(loss.detach())
        while self.epoch_ends and self.epoch_ends[0] <= self.done:
            self.epoch_ends.pop(0)
            if self.plateau is not None:
                # Losses restored from a resume file are on the CPU.
                losses = [each.to(loss.device) for each in self.losses]
                self.plateau.step(float(torch.stack(losses).mean()))
            elif self.every_epoch is not None:
                self.every_epoch.step()
            if not self.epoch_ends or self.epoch_ends[0] > self.done:
                self.losses.clear()
