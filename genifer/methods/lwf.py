"""Learning without forgetting (Li and Hoiem, 2016, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from genifer.methods.method import Batch, Method
from genifer.settings import PositiveFloat, TrainingSettings, Weight

if TYPE_CHECKING:
    from torch import Tensor


class DistillationSettings(TrainingSettings):
    """Settings of a training that distils the teacher's outputs."""

    distillation_weight: Weight = Field(1.0, description="weight of the distance to the teacher's outputs")
    temperature: PositiveFloat = Field(2.0, description="temperature of the softmax in that distance")


class LwfSettings(DistillationSettings):
    """Settings of learning without forgetting."""

    cross_entropy_classes: Literal["new", "all"] = Field(
        "new",
        description="classes in the softmax of the cross-entropy; new: the task's own, so that it does not "
        "lower the outputs of old classes",
    )


class Lwf(Method):
    """Learning without forgetting: new images only; the teacher's outputs on them are distilled.

    The cross-entropy is among the new classes (equation 1 of Li and Hoiem, 2016), the distillation among the
    old classes, between softmaxes with a temperature (equation 3). All old tasks share one softmax, because
    the classifier has one head. With ``cross_entropy_classes: all``, the cross-entropy is among all classes
    so far, which makes the classifier forget more.
    """

    name = "lwf"
    version = 3
    Settings = LwfSettings
    splits_batches = True
    uses_teacher = True
    settings: LwfSettings

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy plus the distillation of the old classes' outputs."""
        first = self.data.n_old if self.settings.cross_entropy_classes == "new" else 0
        return losses_with_distillation(self, batch, self.settings, first)


def losses_with_distillation(
    learner: Method, batch: Batch, settings: DistillationSettings, first: int = 0
) -> dict[str, Tensor]:
    """Compute the cross-entropy plus the weighted distillation of the old classes' outputs.

    Args:
        first: first class in the cross-entropy's softmax, which runs over it and all later classes.

    Returns:
        The scalars loss, accuracy and distillation.
    """
    import torch

    from genifer.nn.losses import cross_entropy_and_accuracy, output_distillation

    logits = learner.classifier(batch.images)
    with torch.no_grad():
        old_logits = learner.teacher(batch.images)
    scalars = cross_entropy_and_accuracy(logits[:, first:], batch.labels - first)
    new_logits = logits[:, : learner.data.n_old]
    distillation = output_distillation(old_logits, new_logits, settings.temperature)
    loss = scalars["loss"] + settings.distillation_weight * distillation
    return {**scalars, "loss": loss, "distillation": distillation}
