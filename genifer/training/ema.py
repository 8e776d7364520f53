"""The exponential moving average (EMA) of the generator's weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def ema_decay(step: int, batch_size: int, half_life: float, rampup_steps: float) -> float:
    """Return the decay factor of the EMA at a generator step (counted from 0).

    Args:
        half_life: half-life of the EMA, in images.
        rampup_steps: steps over which the half-life grows linearly to its full length (Karras et al., 2020,
            appendix B).
    """
    images = half_life * min(1.0, step / rampup_steps)
    return float(0.5 ** (batch_size / max(images, 1e-8)))


@torch.no_grad()
def update_average(average: Iterable[Tensor], weights: Iterable[Tensor], decay: float) -> None:
    """Set average = decay * average + (1 - decay) * weights, for all parameters of two networks."""
    torch._foreach_lerp_(list(average), list(weights), 1 - decay)


@torch.no_grad()
def relative_distance(average: nn.Module, module: nn.Module) -> Tensor:
    """Return the norm of the difference of all parameters, relative to the norm of the module's."""
    weights = [parameter.detach() for parameter in module.parameters()]
    between = torch._foreach_sub(list(average.parameters()), weights)
    differences, norms = (torch.stack(torch._foreach_norm(list(tensors))) for tensors in (between, weights))
    return differences.norm() / norms.norm()
