"""Optimisers and their learning-rate schedules, from the settings."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import MultiStepLR

from genifer.config import OptimizerSettings


def make_optimizer(
    settings: OptimizerSettings, parameters: Iterable[nn.Parameter], steps: int
) -> tuple[torch.optim.Optimizer, MultiStepLR]:
    """An optimiser, and a schedule that is stepped once after every optimiser step."""
    parameters = list(parameters)
    optimizer: torch.optim.Optimizer
    match settings.name:
        case "sgd":
            optimizer = torch.optim.SGD(
                parameters,
                settings.learning_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                fused=True,
            )
        case "adam":
            optimizer = torch.optim.Adam(
                parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=True
            )
        case "radam":
            optimizer = torch.optim.RAdam(
                parameters,
                settings.learning_rate,
                weight_decay=settings.weight_decay,
                decoupled_weight_decay=True,
                foreach=True,
            )
    milestones = [round(share * steps) for share in settings.milestones]
    return optimizer, MultiStepLR(optimizer, milestones, settings.factor)
