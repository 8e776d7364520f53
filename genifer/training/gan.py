"""Training of the GAN: images that induce in the classifier the features of real ones.

On the first task (Thandiackal et al., 2024) the discriminator compares the features of
generated images with those of the task's images, both taken from the frozen classifier
at one stage. On a later task the old generator, frozen, stands in for the images of the
old classes: its images are half of what counts as real, and for the same latent vectors
the new generator is held to the very images of the old one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from genifer.config import (
    DiscriminatorSettings,
    GanSettings,
    GeneratorSettings,
    PretrainGanSettings,
    TrainGanSettings,
)
from genifer.data.batches import (
    Normalization,
    TaskData,
    load_task_data,
    random_crop_and_flip,
    shuffled_batches,
)
from genifer.losses import discriminator_loss, generator_loss, image_distillation, r1_penalty
from genifer.nn.ada import AdaController, Amounts, augment, draw_amounts
from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator, default_channels
from genifer.training.checkpoints import load_classifier, load_gan, require_classes, save_gan
from genifer.training.stage import Stage


def pretrain_gan(
    stage: Stage,
    generator_settings: GeneratorSettings,
    discriminator_settings: DiscriminatorSettings,
    settings: GanSettings,
    task_settings: PretrainGanSettings,
    data_path: Path,
    classifier_path: Path,
) -> None:
    """Train a new GAN on the first task; writes ``gan.safetensors``."""
    rng = stage.start()
    data = load_task_data([data_path], stage.device)
    trained = load_classifier(classifier_path, stage.device)
    require_classes(classifier_path, trained.network.n_classes, data.n_new, "the GAN of task 0")
    size = data.images.shape[-1]
    generator = Generator(
        data.n_classes,
        generator_settings.latent_dim,
        generator_settings.embedding_dim,
        generator_settings.style_dim,
        generator_settings.channels or default_channels(size),
        data.images.shape[1],
    )
    matched = trained.network.feature_shape(settings.matching_stage, size)
    discriminator = Discriminator(
        data.n_classes, settings.matching_stage, *matched, discriminator_settings.width
    )
    gan = GanStep(settings, generator, discriminator, trained.network, stage)
    _train(stage, gan, task_settings.steps, task_settings.ema_rampup_steps, data, trained.normalization, rng)


def train_gan(
    stage: Stage,
    settings: GanSettings,
    task_settings: TrainGanSettings,
    data_path: Path,
    classifier_path: Path,
    old_gan_path: Path,
) -> None:
    """Train the GAN on to a later task's classes; writes ``gan.safetensors``."""
    rng = stage.start()
    data = load_task_data([data_path], stage.device)
    trained = load_classifier(classifier_path, stage.device)
    require_classes(
        classifier_path, trained.network.n_classes, data.n_old + data.n_new, f"the GAN of task {data.task}"
    )
    old = load_gan(old_gan_path, stage.device)
    require_classes(old_gan_path, old.n_classes_seen, data.n_old, f"the GAN of task {data.task}")
    weight = task_settings.distillation_weight
    if task_settings.distillation_grows:
        weight *= data.n_old / data.n_new
    gan = GanStep(
        settings,
        copy.deepcopy(old.generator),
        old.discriminator,
        trained.network,
        stage,
        old_generator=old.generator,
        distillation_weight=weight,
    )
    _train(stage, gan, task_settings.steps, task_settings.ema_rampup_steps, data, trained.normalization, rng)


def _train(
    stage: Stage,
    gan: GanStep,
    steps: int,
    ema_rampup_steps: float,
    data: TaskData,
    normalize: Normalization,
    rng: torch.Generator,
) -> None:
    settings = gan.settings
    averaged = copy.deepcopy(gan.generator).requires_grad_(False)
    batches = gan_batches(gan, data, normalize, rng)
    with stage.record(steps) as record:
        for step in range(steps):
            batch = next(batches)
            scalars = gan.discriminator_step(batch, step)
            scalars |= gan.generator_step(batch)
            decay = ema_decay(step, settings.batch_size, settings.ema_half_life, ema_rampup_steps)
            update_average(averaged, gan.generator, decay)
            record.add(step, scalars)
    save_gan(stage.output / "gan.safetensors", averaged, gan.discriminator, data.n_old + data.n_new)
    record.save()


@dataclass(frozen=True)
class GanBatch:
    """All that is drawn for one step; samples of old classes come first.

    Attributes:
        z, labels: of all generated images: (n, latent_dim) and (n,).
        images: real ones of the new classes, normalised; labels of the last part match them.
        real_labels: labels of old classes (as asked for) and of ``images``.
        noise: noise maps of the old generator's images (discriminator step), of the fake
            ones there, and of the generator step.
        augmentation: what augmentation does to the real and fake images of the discriminator
            step (joined) and to the images of the generator step; None without augmentation.
    """

    z: Tensor
    labels: Tensor
    images: Tensor
    real_labels: Tensor
    old_noise: list[Tensor] | None
    discriminator_noise: list[Tensor]
    generator_noise: list[Tensor]
    augmentation: tuple[Amounts, Amounts] | None = None


def gan_batches(
    gan: GanStep, data: TaskData, normalize: Normalization, rng: torch.Generator
) -> Iterator[GanBatch]:
    """Endless batches: half old and half new classes, or new ones only on the first task."""
    settings, generator, device = gan.settings, gan.generator, data.images.device
    n = settings.batch_size
    n_old_samples = n // 2 if data.n_old else 0
    size = data.images.shape[-1]
    for pixels, labels in shuffled_batches(data, n - n_old_samples, rng):
        images = random_crop_and_flip(normalize(pixels), 0, settings.horizontal_flip, rng)
        old = torch.randint(max(data.n_old, 1), (n_old_samples,), generator=rng, device=device)
        new = torch.randint(
            data.n_old, data.n_old + data.n_new, (n - n_old_samples,), generator=rng, device=device
        )
        yield GanBatch(
            z=torch.randn(n, generator.latent_dim, generator=rng, device=device),
            labels=torch.cat([old, new]),
            images=images,
            real_labels=torch.cat([old, labels]),
            old_noise=generator.draw_noise(n_old_samples, rng) if n_old_samples else None,
            discriminator_noise=generator.draw_noise(n, rng),
            generator_noise=generator.draw_noise(n, rng),
            augmentation=(
                draw_amounts(2 * n, size, gan.ada.probability, rng),
                draw_amounts(n, size, gan.ada.probability, rng),
            )
            if settings.ada.enabled
            else None,
        )


class GanStep:
    """One step of the GAN: the discriminator's half, then the generator's.

    Args:
        classifier: frozen; its features at the matching stage are all that the discriminator sees.
        old_generator: of the task before, frozen; None on the first task.
        distillation_weight: of the distance to the old generator's images.
    """

    def __init__(
        self,
        settings: GanSettings,
        generator: Generator,
        discriminator: Discriminator,
        classifier: Classifier,
        stage: Stage,
        *,
        old_generator: Generator | None = None,
        distillation_weight: float = 0.0,
    ) -> None:
        self.settings = settings
        self.stage = stage
        self.generator = generator.to(stage.device).to(memory_format=torch.channels_last).train()
        self.discriminator = discriminator.to(stage.device).to(memory_format=torch.channels_last).train()
        self.classifier = classifier.eval().requires_grad_(False)
        self.old_generator = old_generator and old_generator.eval().requires_grad_(False)
        self.distillation_weight = distillation_weight
        ada = settings.ada
        self.ada = AdaController(
            ada.target,
            ada.interval,
            ada.speed_kimg,
            ada.max_probability,
            ada.initial_probability,
            stage.device,
        )
        # A penalty on every r1_interval-th step is a step of its own (Karras et al., 2020, appendix B).
        lazy = settings.r1_interval / (settings.r1_interval + 1) if settings.r1_gamma else 1.0
        self.r1_gamma = settings.r1_gamma * lazy
        self.generator_parameters = list(generator.parameters())
        self.generator_optimizer = torch.optim.Adam(
            self.generator_parameters, settings.generator_learning_rate, betas=(0.0, 0.99), fused=True
        )
        self.discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(),
            settings.discriminator_learning_rate * lazy,
            betas=(0.0, 0.99**lazy),
            fused=True,
        )

    def features(self, images: Tensor, amounts: Amounts | None) -> Tensor:
        """What the discriminator sees of images: augmented if asked, at the matching stage."""
        if amounts is not None:
            images = augment(images, amounts)
        images = images.contiguous(memory_format=torch.channels_last)
        return self.classifier.features(images, self.settings.matching_stage)

    def discriminator_step(self, batch: GanBatch, step: int) -> dict[str, Tensor]:
        """Learn to tell real features from generated ones, with R1 on every so many-th step."""
        n = len(batch.labels)
        with torch.no_grad(), self.stage.autocast():
            real = batch.images
            if self.old_generator is not None and batch.old_noise is not None:
                n_old = n - len(real)
                old = self.old_generator(batch.z[:n_old], batch.labels[:n_old], batch.old_noise)
                real = torch.cat([old.float(), real])
            fake = self.generator(batch.z, batch.labels, batch.discriminator_noise)
            seen = self.features(
                torch.cat([real, fake.float()]), batch.augmentation and batch.augmentation[0]
            )
        penalize = self.r1_gamma > 0 and step % self.settings.r1_interval == 0
        real_features = seen[:n].float().requires_grad_() if penalize else seen[:n]
        with self.stage.autocast():
            fake_logits = self.discriminator(seen[n:], batch.labels).float()
            if not penalize:
                real_logits = self.discriminator(real_features, batch.real_labels).float()
        scalars: dict[str, Tensor] = {}
        if penalize:
            real_logits = self.discriminator(real_features, batch.real_labels)
        loss = total = discriminator_loss(real_logits, fake_logits)
        if penalize:
            scalars["r1"] = r1_penalty(real_logits, real_features, self.r1_gamma)
            total = loss + scalars["r1"]
        self.discriminator_optimizer.zero_grad()
        total.backward()
        self.discriminator_optimizer.step()
        sign = real_logits.detach().sign().mean()
        if self.settings.ada.enabled:
            self.ada.update(step, sign)
            scalars["ada_probability"] = self.ada.probability
        return {
            "d_loss": loss.detach(),
            "d_real": real_logits.detach().mean(),
            "d_fake": fake_logits.detach().mean(),
            "sign_of_d_real": sign,
        } | scalars

    def generator_step(self, batch: GanBatch) -> dict[str, Tensor]:
        """Learn to pass for real, without changing what the old classes look like."""
        with self.stage.autocast():
            fake = self.generator(batch.z, batch.labels, batch.generator_noise)
            features = self.features(fake.float(), batch.augmentation and batch.augmentation[1])
            logits = self.discriminator(features, batch.labels).float()
        loss = total = generator_loss(logits)
        scalars: dict[str, Tensor] = {}
        if self.old_generator is not None:
            n_old = len(batch.labels) - len(batch.images)
            noise = [of_map[:n_old] for of_map in batch.generator_noise]
            with torch.no_grad(), self.stage.autocast():
                old = self.old_generator(batch.z[:n_old], batch.labels[:n_old], noise)
            distillation = image_distillation(old.float(), fake[:n_old].float())
            total = loss + self.distillation_weight * distillation
            scalars["g_distillation"] = distillation.detach()
        self.generator_optimizer.zero_grad()
        total.backward(inputs=self.generator_parameters)
        self.generator_optimizer.step()
        return {"g_loss": loss.detach()} | scalars


def ema_decay(step: int, batch_size: int, half_life: float, rampup_steps: float) -> float:
    """Share that the averaged generator keeps at a step (counted from 0).

    The half-life, in images, grows linearly over ``rampup_steps`` (Karras et al., 2020, appendix B).
    """
    images = half_life * min(1.0, step / rampup_steps)
    return float(0.5 ** (batch_size / max(images, 1e-8)))


@torch.no_grad()
def update_average(averaged: nn.Module, module: nn.Module, decay: float) -> None:
    """averaged = decay * averaged + (1 - decay) * module, over all parameters."""
    torch._foreach_lerp_(list(averaged.parameters()), list(module.parameters()), 1 - decay)
