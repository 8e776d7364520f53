"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import pytest
import torch

from genifer.settings import OptimizerSettings
from genifer.training.optimizers import make_optimizer


@pytest.mark.parametrize(
    ("schedule", "losses", "rates"),
    [
        ("constant", [1.0] * 8, [1.0] * 8),
        ("multistep", [1.0] * 8, [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]),
        ("exponential", [1.0] * 8, [1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]),
        ("linear", [1.0] * 8, [1, 0.7, 0.7, 0.4, 0.4, 0.1, 0.1, 0.1]),
        ("plateau", [1.0] * 8, [1, 1, 1, 1, 1, 0.5, 0.5, 0.5]),
        ("plateau", [4, 4, 3, 3, 2, 2, 1, 1], [1.0] * 8),
        ("plateau", [1.0, 1.0, 0.95, 0.95, 0.92, 0.92, 0.9, 0.9], [1, 1, 1, 1, 1, 0.5, 0.5, 0.5]),
    ],
)
def test_schedules(schedule: str, losses: list[float], rates: list[float]) -> None:
    """Eight steps in four epochs; the rate after each step."""
    settings = OptimizerSettings.model_validate(
        {
            "schedule": schedule,
            "learning_rate": 1.0,
            "factor": 0.5,
            "milestones": [0.5, 0.75],
            "epochs": 4,
            "patience": 1,
        }
    )
    optimizer, steps = make_optimizer(settings, [torch.nn.Parameter(torch.zeros(1))], 8)
    seen = []
    for loss in losses:
        optimizer.step()
        steps.step(torch.tensor(float(loss)))
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx(rates)


@pytest.mark.parametrize("name", ["sgd", "adam", "radam"])
def test_optimizers_learn(name: str) -> None:
    x = torch.nn.Parameter(torch.ones(3))
    frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    settings = OptimizerSettings.model_validate({"name": name, "learning_rate": 0.05})
    optimizer, _ = make_optimizer(settings, [x, frozen], 50)
    for _ in range(50):
        optimizer.zero_grad()
        x.square().sum().backward()
        optimizer.step()
    assert x.abs().max() < 0.9
    assert frozen.eq(1).all()
