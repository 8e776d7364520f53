"""The losses of the methods, as pure functions of tensors."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy_and_accuracy(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Compute ``loss`` (cross-entropy) and ``accuracy`` (fraction correct) of logits (n, classes)."""
    loss = F.cross_entropy(logits.float(), labels)
    return {"loss": loss, "accuracy": accuracy(logits, labels)}


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the fraction of logits (n, classes) whose largest is that of the label."""
    return (logits.argmax(1) == labels).float().mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Compute the discriminator's non-saturating GAN loss: mean of softplus(fake) + softplus(-real)."""
    return (F.softplus(fake_logits) + F.softplus(-real_logits)).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Compute the generator's non-saturating GAN loss: mean of softplus(-fake)."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(real_logits: Tensor, real_features: Tensor, gamma: float) -> Tensor:
    """Compute R1: gamma / 2 times D's squared gradient norm at real samples (Mescheder et al., 2018).

    Args:
        real_logits: (n,): the discriminator's logits of real samples.
        real_features: (n, ...): the discriminator's input, with ``requires_grad``.
        gamma: weight of the penalty.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), real_features, create_graph=True)
    return gamma / 2 * gradient.square().flatten(1).sum(1).mean()


def output_distillation(old_logits: Tensor, new_logits: Tensor, temperature: float) -> Tensor:
    """Compute the cross-entropy of the new model's distribution relative to the old model's.

    The new model's softmax is over all its classes; the sum is over the old classes.

    Args:
        old_logits: (n, old classes).
        new_logits: (n, old + new classes).
    """
    old = F.softmax(old_logits.float() / temperature, dim=1)
    new = F.log_softmax(new_logits.float() / temperature, dim=1)
    return -(old * new[:, : old.shape[1]]).sum(1).mean()


def divergence(old_logits: Tensor, new_logits: Tensor, temperature: float) -> Tensor:
    """Compute the Kullback-Leibler divergence of the new model's distribution from the old model's.

    Args:
        old_logits: (n, old classes); the new classes have probability 0 in the old model.
        new_logits: (n, old + new classes).
    """
    old = F.softmax(old_logits.float() / temperature, dim=1)
    new = F.log_softmax(new_logits.float() / temperature, dim=1)
    return (old * (torch.log(old + 1e-6) - new[:, : old.shape[1]])).sum(1).mean()


def logit_distance(old_logits: Tensor, new_logits: Tensor, squared: bool) -> Tensor:
    """Compute the mean squared or absolute difference of the old classes' logits."""
    old, new = old_logits.float(), new_logits[:, : old_logits.shape[1]].float()
    return F.mse_loss(new, old) if squared else F.l1_loss(new, old)


def feature_distillation(old_features: Tensor, new_features: Tensor, norm: Literal["L1", "L2"]) -> Tensor:
    """Compute the norm of the difference between two networks' features, averaged over the samples."""
    difference = (new_features.float() - old_features.float()).flatten(1)
    return difference.norm(p=1 if norm == "L1" else 2, dim=1).mean()


def angle_distillation(old_features: Tensor, new_features: Tensor) -> Tensor:
    """Compute the mean absolute difference of the cosines between the features of any three samples.

    The angles are those of the triangles with corners i, j, k (Park et al., 2019, equation 7). They are
    computed in float32, even under autocast.

    Args:
        old_features, new_features: (n, dim): features of the same samples.
    """
    with torch.autocast(old_features.device.type, enabled=False):
        return F.l1_loss(_cosines(new_features.float()), _cosines(old_features.float()))


def _cosines(features: Tensor) -> Tensor:
    """Return the cosines (n, n, n) of the angles at j between i and k; 0 if two of them are equal."""
    directions = F.normalize(features[None, :] - features[:, None], dim=2)
    return directions @ directions.mT


def generator_distillation(old: Tensor, new: Tensor, loss: Literal["L1", "L2"]) -> Tensor:
    """Compute the mean absolute (L1) or squared (L2) difference of two generators' samples."""
    return F.l1_loss(new.float(), old.float()) if loss == "L1" else F.mse_loss(new.float(), old.float())
