"""Training of the GAN: images that induce in the classifier the features of real ones.

On the first task (Thandiackal et al., 2024) the discriminator compares the features of
generated images with those of the task's images, both taken from the frozen classifier
at one stage. On a later task the old generator, frozen, stands in for the images of the
old classes: its images are half of what counts as real, and for the same latent vectors
the new generator is held to the very images of the old one.

That is the indirect mode. In the direct mode the generator makes the features themselves.
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
    generated_side,
)
from genifer.data.batches import (
    Normalization,
    ShuffledBatches,
    TaskData,
    load_task_data,
    random_crop_and_flip,
)
from genifer.losses import discriminator_loss, generator_distillation, generator_loss, r1_penalty
from genifer.nn.ada import AdaController, Amounts, augment, draw_amounts
from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator, default_channels
from genifer.runtime.seeds import stage_seed
from genifer.training.checkpoints import (
    load_classifier,
    load_gan,
    require_classes,
    require_matching,
    save_gan,
)
from genifer.training.collapse import Collapse, Diversity
from genifer.training.palette import Palette
from genifer.training.resume import Part
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
    generator, discriminator = new_gan(
        settings, generator_settings, discriminator_settings, trained.network, data.n_classes, data.images
    )
    gan = GanStep(settings, generator, discriminator, trained.network, stage, settings.ada.probability)
    _train(stage, gan, task_settings.steps, task_settings.ema_rampup_steps, data, trained.normalization, rng)


def new_gan(
    settings: GanSettings,
    generator_settings: GeneratorSettings,
    discriminator_settings: DiscriminatorSettings,
    classifier: Classifier,
    n_classes: int,
    images: Tensor,
) -> tuple[Generator, Discriminator]:
    """Generator and discriminator for a classifier and images (n, channels, size, size) like these."""
    image_channels, size = images.shape[1], images.shape[-1]
    stage, matching_stage = settings.generated_stage, settings.matching_stage
    generator = Generator(
        n_classes,
        generator_settings.latent_dim,
        generator_settings.embedding_dim,
        generator_settings.style_dim,
        generator_settings.channels or default_channels(generated_side(size, stage)),
        classifier.feature_shape(stage, size)[0] if stage else image_channels,
        stage,
        classifier.feature_shape(stage, size)[1] if stage else size,
    )
    matched = classifier.feature_shape(matching_stage, size)
    return generator, Discriminator(n_classes, matching_stage, *matched, discriminator_settings.width)


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
    require_matching(old_gan_path, old, settings)
    generator, discriminator = copy.deepcopy(old.generator), old.discriminator
    if task_settings.reinitialize_generator:
        generator = Generator(**generator.description)
    if task_settings.reinitialize_discriminator:
        discriminator = Discriminator(**discriminator.description)
    ada = settings.ada
    carried_on = ada.mode == "adaptive" and not ada.reset_each_task
    gan = GanStep(
        settings,
        generator,
        discriminator,
        trained.network,
        stage,
        old.ada_probability if carried_on else ada.probability,
        Distillation(old.generator, task_settings, data.n_old, data.n_new),
    )
    _train(stage, gan, task_settings.steps, task_settings.ema_rampup_steps, data, trained.normalization, rng)


class Distillation:
    """The old generator, which the new one is held to.

    Attributes:
        weight: of the distance between what they make of the same latents.
        stage: of the classifier, at which it is measured.
    """

    def __init__(self, generator: Generator, settings: TrainGanSettings, n_old: int, n_new: int) -> None:
        self.generator = generator.eval().requires_grad_(False)
        self.weight = settings.distillation_weight * (n_old / n_new if settings.distillation_grows else 1)
        self.stage = max(settings.distillation_stage, generator.stage)
        self.loss = settings.distillation_loss


def _train(
    stage: Stage,
    gan: GanStep,
    count: int,
    ema_rampup_steps: float,
    data: TaskData,
    normalize: Normalization,
    rng: torch.Generator,
) -> None:
    settings = gan.settings
    averaged = copy.deepcopy(gan.generator).requires_grad_(False)
    shuffled = gan_data(gan, data, rng)
    batches = gan_batches(gan, shuffled, normalize)
    parts = gan.parts | {"averaged generator": averaged, "batches": shuffled, "rng": rng}
    collapse = Collapse(stage.collapse_limit, count)
    diversity = Diversity(gan, data, normalize, stage_seed(stage.seed, "diversity", stage.task))
    parts["collapse"] = collapse
    n_classes = data.n_old + data.n_new
    palette_seed = stage_seed(stage.seed, "palette", stage.task)
    palette = Palette(averaged, n_classes, normalize, palette_seed, stage.device)
    with stage.steps(count, parts, collapse.judge) as steps:
        for step in steps:
            batch = next(batches)
            scalars = gan.discriminator_step(batch, step)
            if step % settings.critic_steps == 0:
                scalars |= gan.generator_step(batch)
                generator_step = step // settings.critic_steps
                decay = ema_decay(
                    generator_step, settings.batch_size, settings.ema_half_life, ema_rampup_steps
                )
                update_average(averaged, gan.generator, decay)
            if collapse.probes(step):
                scalars["diversity"] = diversity(averaged)
                scalars["ema_distance"] = relative_distance(averaged, gan.generator)
            steps.record(step, scalars)
            if averaged.stage == 0 and steps.picture_due(step):
                steps.picture(step, "palette", palette(averaged))
    save_gan(
        stage.output / "gan.safetensors",
        averaged,
        gan.discriminator,
        n_classes,
        float(gan.ada.probability),
    )
    steps.finish()


@dataclass(frozen=True)
class GanBatch:
    """All that is drawn for one step; samples of old classes come first.

    Attributes:
        z, labels: of all generated samples: (n, latent_dim) and (n,).
        images: real ones of the new classes, normalised; labels of the last part match them.
        real_labels: labels of old classes (as asked for) and of ``images``.
        old_noise, discriminator_noise, generator_noise: noise maps of the old generator in the
            discriminator step, of the new one there, and of the generator step.
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


def gan_data(gan: GanStep, data: TaskData, rng: torch.Generator) -> ShuffledBatches:
    """The task's images for each step: half a batch, or all of it on the first task."""
    n = gan.settings.batch_size
    return ShuffledBatches(data, n - n // 2 if data.n_old else n, rng)


def gan_batches(gan: GanStep, shuffled: ShuffledBatches, normalize: Normalization) -> Iterator[GanBatch]:
    """Endless batches: half old and half new classes, or new ones only on the first task."""
    settings, generator, data, rng = gan.settings, gan.generator, shuffled.data, shuffled.rng
    device, size = data.images.device, data.images.shape[-1]
    n = settings.batch_size
    n_old_samples = n - shuffled.batch_size
    for pixels, labels in shuffled:
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
            if settings.ada.mode != "none"
            else None,
        )


Losses = tuple[Tensor, dict[str, Tensor]]
"""What to derive, and the scalars to record."""


class GanStep:
    """One step of the GAN: the discriminator's half, then the generator's.

    Args:
        classifier: frozen; its features at the matching stage are all that the discriminator sees.
        ada_probability: with which augmentation starts.
        distillation: what the new generator is held to; None on the first task.
    """

    def __init__(
        self,
        settings: GanSettings,
        generator: Generator,
        discriminator: Discriminator,
        classifier: Classifier,
        stage: Stage,
        ada_probability: float,
        distillation: Distillation | None = None,
    ) -> None:
        self.settings = settings
        self.stage = stage
        self.generator = generator.to(stage.device).to(memory_format=torch.channels_last).train()
        self.discriminator = discriminator.to(stage.device).to(memory_format=torch.channels_last).train()
        self.classifier = classifier.folded().to(memory_format=torch.channels_last)
        self.distillation = distillation
        ada = settings.ada
        self.ada = AdaController(
            ada.target,
            ada.interval,
            ada.full_range_steps,
            ada.max_probability,
            ada_probability,
            stage.device,
        )
        # A penalty on every r1_interval-th step is a step of its own (Karras et al., 2020, appendix B).
        lazy = settings.r1_interval / (settings.r1_interval + 1) if settings.r1_interval > 1 else 1.0
        self.r1_gamma = settings.r1_gamma * lazy
        self.generator_optimizer = torch.optim.Adam(
            generator.parameters(), settings.generator_learning_rate, betas=(0.0, 0.99), fused=True
        )
        self.discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(),
            settings.discriminator_learning_rate * lazy,
            betas=(0.0, 0.99**lazy),
            fused=True,
        )
        self.parts: dict[str, Part] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator's optimizer": self.generator_optimizer,
            "discriminator's optimizer": self.discriminator_optimizer,
            "augmentation": self.ada,
        }
        self._compared = stage.compiled(self.compared)
        self._discriminator_loss = stage.compiled(self.discriminator_loss)
        self._generator_loss = stage.compiled(self.generator_loss)

    def features(self, images: Tensor) -> Tensor:
        """Features of images at the matching stage."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.classifier.features(images, self.settings.matching_stage)

    def seen(self, made: Tensor, amounts: Amounts | None) -> Tensor:
        """What the discriminator sees of images: augmented if asked, at the matching stage.

        Features that a generator made are seen as they are.
        """
        if self.generator.stage > 0:
            return made
        return self.features(made if amounts is None else augment(made, amounts))

    def discriminator_step(self, batch: GanBatch, step: int) -> dict[str, Tensor]:
        """Learn to tell real features from generated ones, with R1 on every so many-th step."""
        real, fake = self._compared(batch)
        if self.r1_gamma > 0 and step % self.settings.r1_interval == 0:
            total, scalars = self.penalized_discriminator_loss(real, fake, batch)
        else:
            total, scalars = self._discriminator_loss(real, fake, batch)
        self.discriminator_optimizer.zero_grad()
        total.backward()
        self.discriminator_optimizer.step()
        if self.settings.ada.mode == "adaptive":
            self.ada.update(step, scalars["sign_of_d_real"])
            scalars["ada_probability"] = self.ada.probability
        return scalars

    @torch.no_grad()
    def compared(self, batch: GanBatch) -> tuple[Tensor, Tensor]:
        """What the discriminator sees of real samples and of generated ones."""
        n = len(batch.labels)
        with self.stage.autocast():
            real = batch.images if self.generator.stage == 0 else self.features(batch.images).float()
            if self.distillation is not None and batch.old_noise is not None:
                n_old = n - len(real)
                old = self.distillation.generator(batch.z[:n_old], batch.labels[:n_old], batch.old_noise)
                real = torch.cat([old.float(), real])
            fake = self.generator(batch.z, batch.labels, batch.discriminator_noise)
            seen = self.seen(torch.cat([real, fake.float()]), batch.augmentation and batch.augmentation[0])
        return seen[:n], seen[n:]

    def discriminator_loss(self, real: Tensor, fake: Tensor, batch: GanBatch) -> Losses:
        """Loss of the discriminator on features of real and generated samples."""
        with self.stage.autocast():
            real_logits = self.discriminator(real, batch.real_labels).float()
            fake_logits = self.discriminator(fake, batch.labels).float()
        loss = discriminator_loss(real_logits, fake_logits)
        return loss, _of_discriminator(loss, real_logits, fake_logits)

    def penalized_discriminator_loss(self, real: Tensor, fake: Tensor, batch: GanBatch) -> Losses:
        """The same with R1, in float32 on the real samples and never compiled: it is derived twice."""
        real = real.float().requires_grad_()
        with self.stage.autocast():
            fake_logits = self.discriminator(fake, batch.labels).float()
        real_logits = self.discriminator(real, batch.real_labels)
        loss = discriminator_loss(real_logits, fake_logits)
        r1 = r1_penalty(real_logits, real, self.r1_gamma)
        return loss + r1, _of_discriminator(loss, real_logits, fake_logits) | {"r1": r1.detach()}

    def generator_step(self, batch: GanBatch) -> dict[str, Tensor]:
        """Learn to be taken for real, and to make what the old generator made."""
        self.discriminator.requires_grad_(False)
        total, scalars = self._generator_loss(batch)
        self.generator_optimizer.zero_grad()
        total.backward()
        self.discriminator.requires_grad_(True)
        self.generator_optimizer.step()
        return scalars

    def generator_loss(self, batch: GanBatch) -> Losses:
        """Loss of the generator, by the discriminator and on later tasks by the old generator."""
        n_old = len(batch.labels) - len(batch.images)
        with self.stage.autocast():
            fake = self.generator(batch.z, batch.labels, batch.generator_noise)
            seen = self.seen(fake.float(), batch.augmentation and batch.augmentation[1])
            fake_logits = self.discriminator(seen, batch.labels).float()
        loss = generator_loss(fake_logits)
        scalars = {"g_loss": loss.detach()}
        held = self.distillation
        if held is None or held.weight == 0:
            return loss, scalars
        noise = [noise[:n_old] for noise in batch.generator_noise]
        with self.stage.autocast():
            with torch.no_grad():
                old = held.generator(batch.z[:n_old], batch.labels[:n_old], noise)
                old = self.classifier.features(old, held.stage, start=held.generator.stage)
            new = self.classifier.features(fake[:n_old], held.stage, start=self.generator.stage)
        distance = generator_distillation(old, new, held.loss)
        return loss + held.weight * distance, scalars | {"g_distillation": distance.detach()}


def _of_discriminator(loss: Tensor, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
    real_logits, fake_logits = real_logits.detach(), fake_logits.detach()
    return {
        "d_loss": loss.detach(),
        "d_real": real_logits.mean(),
        "d_fake": fake_logits.mean(),
        "d_spread": torch.cat([real_logits, fake_logits]).std(),
        "sign_of_d_real": real_logits.sign().mean(),
    }


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


@torch.no_grad()
def relative_distance(averaged: nn.Module, module: nn.Module) -> Tensor:
    """Norm of the difference of all parameters, relative to that of the module's."""
    weights = [parameter.detach() for parameter in module.parameters()]
    between = torch._foreach_sub(list(averaged.parameters()), weights)
    differences, norms = (torch.stack(torch._foreach_norm(list(tensors))) for tensors in (between, weights))
    return differences.norm() / norms.norm()
