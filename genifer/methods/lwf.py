"""Learning without forgetting (Li and Hoiem, 2016, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from genifer.methods.method import Batch, Method
from genifer.settings import PositiveFloat, TrainingSettings, Weight

if TYPE_CHECKING:
    from torch import Tensor


class LwfSettings(TrainingSettings):
    """Settings of learning without forgetting."""

    distillation_weight: Weight = Field(1.0, description="weight of the distance to the teacher's outputs")
    temperature: PositiveFloat = Field(2.0, description="temperature of the softmax in that distance")


class Lwf(Method):
    """Learning without forgetting: new images only; the teacher's outputs on them are kept.

    Equation 3 of Li and Hoiem (2016): softmax with a temperature over the old classes, of teacher and
    classifier. All old tasks have one softmax and the cross-entropy is over all classes, because the
    classifier has one head.
    """

    name = "lwf"
    version = 2
    Settings = LwfSettings
    uses_teacher = True
    settings: LwfSettings

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy plus distillation of the old classes' outputs."""
        import torch

        from genifer.nn.losses import cross_entropy_and_accuracy, output_distillation

        logits = self.classifier(batch.images)
        with torch.no_grad():
            old_logits = self.teacher(batch.images)
        scalars = cross_entropy_and_accuracy(logits, batch.labels)
        of_old_classes = logits[:, : self.data.n_old]
        distillation = output_distillation(old_logits, of_old_classes, self.settings.temperature)
        loss = scalars["loss"] + self.settings.distillation_weight * distillation
        return {**scalars, "loss": loss, "distillation": distillation}
