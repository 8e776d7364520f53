"""R-DFCIL (Gao et al., 2022): relations among new images guide the features; then the head is refined."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from genifer.methods.generative_replay import channels_last
from genifer.methods.inversion import InversionSettings, InvertedReplay
from genifer.methods.method import Batch
from genifer.settings import Fraction, Weight

if TYPE_CHECKING:
    from torch import Tensor


class RdfcilSettings(InversionSettings):
    """Settings of the inversion, and of both phases of the classifier's training."""

    cross_entropy_weight: Weight = Field(
        0.5,
        description="weight of the cross-entropy among new classes; decreases with the number of old classes",
    )
    distillation_weight: Weight = Field(
        0.15,
        description="weight of the distance to the teacher's outputs on inverted images; grows with the "
        "number of old classes",
    )
    relation_weight: Weight = Field(
        0.5,
        description="weight of the distance to the teacher's angles between features of new images; grows "
        "with the number of old classes",
    )
    refinement: Fraction = Field(
        0.3, description="last fraction of the steps, in which only the head learns, from all classes"
    )

    def weights(self, n_old: int, n_new: int) -> tuple[float, float, float]:
        """Return the weights of cross-entropy, distillation and relations for these numbers of classes."""
        alpha, beta = math.log2(n_new / 2 + 1), math.sqrt(n_old / n_new)
        return (
            self.cross_entropy_weight * (1 + 1 / alpha) / beta,
            self.distillation_weight * alpha * beta,
            self.relation_weight * alpha * beta,
        )


class Rdfcil(InvertedReplay):
    """Relation-guided: outputs on inverted images, and angles between features of new ones, are distilled.

    Gao et al. (2022, section 3), on the inverted images of `abd`. In the first phase all stages minimise the
    cross-entropy among the new classes on new images, the mean absolute difference of the old classes'
    outputs on inverted images, and the mean absolute difference of the cosines between the features of three
    new images (Park et al., 2019, equation 7). The features of teacher and classifier first pass a linear map
    each, which is trained too, and dropped after the task. In the second phase only the head learns, from all
    classes with equal weights. Omitted: a separate optimizer and learning rate for the second phase; the
    schedule continues. `InvertedReplay` says how the inversion differs from the code of Smith et al. (2021).
    """

    name = "rdfcil"
    version = 1
    Settings = RdfcilSettings
    splits_batches = True
    settings: RdfcilSettings
    refining = False

    def setup(self) -> None:
        """Build the linear maps to twice as many features. They have no bias: angles do not depend on it."""
        from torch import nn

        dim = self.classifier.head.in_features
        self.networks = {
            name: nn.Linear(dim, 2 * dim, bias=False) for name in ("map_of_teacher", "map_of_classifier")
        }

    def draw_batch(self) -> Batch:
        """Draw new images and as many inverted ones; in the second phase, freeze all but the head."""
        self.refining = self.step >= round((1 - self.settings.refinement) * self.settings.steps)
        if self.refining:
            self.classifier.stages.eval()
        return super().draw_batch()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the loss of the current phase; the other scalars are only logged."""
        import torch
        import torch.nn.functional as F

        from genifer.nn.losses import angle_distillation, logit_distance
        from genifer.nn.stages import POOLED
        from genifer.runtime.parallel import gathered

        assert batch.replay is not None
        n, n_old, n_new = len(batch.labels), self.data.n_old, self.data.n_new
        images = channels_last(torch.cat([batch.images, batch.replay]))
        with torch.no_grad():
            old_features = self.teacher.features(images, POOLED)
            old_logits = self.teacher(old_features[n:], start=POOLED)
        with torch.set_grad_enabled(not self.refining):
            features = self.classifier.features(images, POOLED)
        logits = self.classifier(features, start=POOLED).float()
        cross_entropy = F.cross_entropy(logits[:n, n_old:], batch.labels - n_old)
        distillation = logit_distance(old_logits, logits[n:], squared=False)
        relations = angle_distillation(
            gathered(self.networks["map_of_teacher"](old_features[:n])),
            gathered(self.networks["map_of_classifier"](features[:n])),
        )
        balance = (
            n_new * F.cross_entropy(logits[:n], batch.labels)
            + n_old * F.cross_entropy(logits[n:], old_logits.argmax(1))
        ) / (n_old + n_new)
        if self.refining:
            loss = balance
        else:
            weights = self.settings.weights(n_old, n_new)
            loss = weights[0] * cross_entropy + weights[1] * distillation + weights[2] * relations
        return {
            "loss": loss,
            "cross_entropy": cross_entropy,
            "distillation": distillation,
            "relations": relations,
            "balance": balance,
        }
