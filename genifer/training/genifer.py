"""The next task: the classifier learns new classes from their images, old ones from replay.

Thandiackal et al. (2024): half of each batch are images of the new classes, half are
made by the old generator. On the replayed half the classifier before this task is a
teacher, for its outputs and for the features at the matched stage.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genifer.config import GeniferSettings
from genifer.data.batches import Normalization, load_task_data, random_crop_and_flip, shuffled_batches
from genifer.losses import feature_distillation, output_distillation
from genifer.nn.classifier import Classifier
from genifer.nn.generator import Generator
from genifer.training.checkpoints import load_classifier, load_gan, require_classes, save_classifier
from genifer.training.optimizers import make_optimizer
from genifer.training.stage import Stage


def train_genifer(
    stage: Stage, settings: GeniferSettings, data_path: Path, old_classifier_path: Path, old_gan_path: Path
) -> None:
    """Grow the old classifier and train it on new and replayed images; writes ``classifier.safetensors``."""
    rng = stage.start()
    data = load_task_data([data_path], stage.device)
    gan = load_gan(old_gan_path, stage.device)
    generator = gan.generator.eval().requires_grad_(False)
    require_classes(old_gan_path, gan.n_classes_seen, data.n_old, f"task {data.task}")
    trained = load_classifier(old_classifier_path, stage.device)
    classifier, normalize = trained.network, trained.normalization
    require_classes(old_classifier_path, classifier.n_classes, data.n_old, f"task {data.task}")
    old_classifier = copy.deepcopy(classifier).requires_grad_(False)
    classifier.grow(data.n_new)

    # The teacher's batch norm sees the batch, as in the paper, unless it is frozen.
    old_classifier.train(not settings.freeze_old_batch_norm)
    classifier.train()
    optimizer, schedule = make_optimizer(settings.optimizer, classifier.parameters(), settings.steps)
    n_replayed = settings.replayed
    batches = shuffled_batches(data, settings.batch_size - n_replayed, rng)
    with stage.record(settings.steps) as record:
        for step in range(settings.steps):
            pixels, labels = next(batches)
            with stage.autocast():
                asked = torch.randint(data.n_old, (n_replayed,), generator=rng, device=stage.device)
                replayed = replay(generator, asked, normalize, rng)
                images = random_crop_and_flip(
                    torch.cat([replayed, normalize(pixels)]),
                    settings.crop_padding,
                    settings.horizontal_flip,
                    rng,
                )
                losses = next_task_losses(classifier, old_classifier, images, labels, settings)
            optimizer.zero_grad()
            losses.loss.backward()
            optimizer.step()
            schedule.step()
            record.add(step, losses._asdict())
    save_classifier(stage.output / "classifier.safetensors", classifier, data)
    record.save()


@torch.no_grad()
def replay(generator: Generator, labels: Tensor, normalize: Normalization, rng: torch.Generator) -> Tensor:
    """Images (n, channels, size, size) of the classes asked for, clamped to valid pixels."""
    n, device = len(labels), labels.device
    z = torch.randn(n, generator.latent_dim, generator=rng, device=device)
    images = generator(z, labels, generator.draw_noise(n, rng))
    return normalize.clamp(images.float())


class NextTaskLosses(NamedTuple):
    loss: Tensor
    cross_entropy: Tensor
    distillation: Tensor
    feature_distillation: Tensor


def next_task_losses(
    classifier: Classifier,
    old_classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    settings: GeniferSettings,
) -> NextTaskLosses:
    """The loss of one step, and its parts before they are weighted.

    Args:
        images: (n, channels, size, size), the replayed ones first.
        labels: of the real images, the last ones.
    """
    n_replayed = len(images) - len(labels)
    stage = settings.feature_distillation_stage
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        old_features, old_logits = old_classifier.features_and_logits(images, stage)
    features, logits = classifier.features_and_logits(images, stage)
    cross_entropy = F.cross_entropy(logits[n_replayed:].float(), labels)
    distillation = output_distillation(old_logits[:n_replayed], logits[:n_replayed], settings.temperature)
    of_features = feature_distillation(old_features[:n_replayed], features[:n_replayed])
    loss = (
        settings.cross_entropy_weight * cross_entropy
        + settings.distillation_weight * distillation
        + settings.feature_distillation_weight * of_features
    )
    return NextTaskLosses(loss, cross_entropy, distillation, of_features)
