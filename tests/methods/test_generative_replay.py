"""Methods that replay a generator's samples: what they make of the GAN's settings, and their losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.chain import job, settings_with

from genifer.errors import GeniferError
from genifer.methods.feature_replay import FeatureReplay
from genifer.methods.image_replay import ImageReplay
from genifer.methods.method import Method
from genifer.training.untrained import untrained_task


def learner_of(method: type[Method], **settings: Any) -> Method:
    """At the second task, after four classes, in the GAN's mode of the method."""
    run = settings_with(methods=[method.name], **{method.name: settings})
    learner = untrained_task(run.variant(method.name).settings, method, job(method.name, 1, Path())).learner
    learner.teacher.eval()
    return learner


def test_the_gan_of_image_replay_sees_images_alone() -> None:
    settings = settings_with(
        methods=["genifer", "image_replay"], gan={"matching_stage": 3, "guidance_weight": 1}
    )
    of_replay = settings.variant("image_replay").settings
    assert (of_replay.gan.matching_stage, of_replay.gan.guidance_weight) == (0, 0)
    assert of_replay.train_gan.distillation_weight == 0
    of_genifer = settings.variant("genifer").settings
    assert (of_genifer.gan.matching_stage, of_genifer.gan.guidance_weight) == (3, 1)


def test_a_variant_may_change_what_its_method_changes() -> None:
    settings = settings_with(methods={"early": {"method": "image_replay", "gan": {"matching_stage": 1}}})
    assert settings.variant("early").settings.gan.matching_stage == 1


def test_the_teacher_labels_replayed_images() -> None:
    learner = learner_of(ImageReplay, new_weight="adaptive")
    batch = learner.draw_batch()
    assert batch.replay is not None
    losses = learner.losses(batch)
    targets = learner.teacher(batch.replay).argmax(1)
    together = learner.classifier(torch.cat([batch.replay, batch.images]))
    of_replay = F.cross_entropy(together[: len(targets)], targets)
    of_images = F.cross_entropy(together[len(targets) :], batch.labels)
    torch.testing.assert_close(losses["loss"], 3 / 7 * of_images + 4 / 7 * of_replay)


def test_features_are_replayed() -> None:
    """They enter the head, with the labels that the generator was asked for."""
    learner = learner_of(FeatureReplay, feature_distillation_weight=0.7)
    batch = learner.draw_batch()
    assert batch.replay is not None
    assert batch.replay_labels is not None
    assert batch.replay.shape == (len(batch.replay_labels), learner.classifier.head.in_features)
    assert batch.replay_labels.max() < learner.data.n_old <= batch.labels.min()
    losses = learner.losses(batch)
    features = learner.classifier.features(batch.images, 6)
    logits = learner.classifier.head(torch.cat([batch.replay, features]))
    expected = F.cross_entropy(logits, torch.cat([batch.replay_labels, batch.labels]))
    old = learner.teacher.features(batch.images, 6)
    expected = expected + 0.7 * (features - old).norm(dim=1).mean()
    torch.testing.assert_close(losses["loss"], expected)


def test_a_batch_needs_room_for_both() -> None:
    with pytest.raises(
        GeniferError, match=r"image_replay.replay_fraction: 0.1 of image_replay.batch_size: 8"
    ):
        settings_with(methods=["image_replay"], image_replay={"replay_fraction": 0.1, "batch_size": 8})
