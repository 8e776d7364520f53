"""Learning without forgetting: the distillation holds the classifier to its teacher's outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.chain import CPU, Chain, job, settings_with

from genifer.data.batches import load_task_data
from genifer.methods.lwf import Lwf
from genifer.training.checkpoints import load_classifier
from genifer.training.untrained import untrained_task


def test_distillation_keeps_the_old_outputs(tmp_path: Path) -> None:
    chain = Chain(tmp_path)

    def shift(weight: float) -> float:
        """How far the old classes' probabilities on the new images have moved."""
        optimizer = {"name": "adam", "learning_rate": 0.01}
        settings = settings_with(lwf={"steps": 60, "distillation_weight": weight, "optimizer": optimizer})
        before = probabilities(chain.classifier)
        after = probabilities(chain.train("lwf", settings, tmp_path / str(weight)))
        return float((after - before).abs().mean())

    def probabilities(checkpoint: Path) -> torch.Tensor:
        trained = load_classifier(checkpoint, CPU)
        task = load_task_data([chain.data(1)], CPU)
        with torch.no_grad():
            logits = trained.network.eval()(trained.normalization(task.images))
        return logits[:, : task.n_old].softmax(1)

    assert shift(100.0) < 0.7 * shift(0.0)


@pytest.mark.parametrize(("classes", "first"), [("new", 4), ("all", 0)])
def test_the_distillation_is_among_old_classes(classes: str, first: int) -> None:
    """The outputs of new classes have no part in it, and those of old ones none in the cross-entropy."""
    block = {"distillation_weight": 5, "temperature": 3, "cross_entropy_classes": classes}
    learner = untrained_task(settings_with(lwf=block), Lwf, job("train_lwf", 1, Path())).learner
    learner.classifier.eval()
    batch = learner.draw_batch()
    losses = learner.losses(batch)
    logits = learner.classifier(batch.images)
    old = (learner.teacher(batch.images) / 3).softmax(1)
    expected = -(old * (logits[:, :4] / 3).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(losses["distillation"], expected)
    of_labels = torch.nn.functional.cross_entropy(logits[:, first:], batch.labels - first)
    torch.testing.assert_close(losses["loss"], of_labels + 5 * expected)
