"""Training of the GAN: it learns samples that induce the features of real images in the classifier.

On the first task (Thandiackal et al., 2024, section 3.2) the discriminator compares the features of generated
images with those of the task's images, both taken from the frozen classifier at one stage. On a later task
the teacher, the previous task's frozen generator, replaces the images of the old classes: its samples are
half of the real ones, and the generator learns to reproduce them from the same latent vectors.

That is the indirect mode. In direct mode the generator produces the features themselves.

This file is in the order of execution: the two trainings, their loop, a batch, a step, its losses.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genifer.data.batches import (
    Normalization,
    ShuffledBatches,
    TaskData,
    load_task_data,
    only,
    random_crop_and_flip,
)
from genifer.nn.ada import AdaController, Amounts, Augmentation, draw_amounts, part_of
from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator
from genifer.nn.losses import discriminator_loss, generator_distillation, generator_loss, r1_penalty
from genifer.nn.stages import POOLED
from genifer.runtime import parallel
from genifer.runtime.seeds import job_seed, seeded_generator
from genifer.settings import (
    DiscriminatorSettings,
    GanSettings,
    GeneratorSettings,
    PretrainGanSettings,
    TrainGanSettings,
)
from genifer.training.checkpoints import (
    load_classifier,
    load_gan,
    require_classes,
    require_matching,
    save_gan,
)
from genifer.training.collapse import Collapse, Diversity
from genifer.training.ema import ema_decay, relative_distance, update_average
from genifer.training.feature_means import FeatureMeans
from genifer.training.job import Job
from genifer.training.networks import new_gan
from genifer.training.optimizers import eager
from genifer.training.resume import Part
from genifer.training.sample_grid import SampleGrid

LossAndScalars = tuple[Tensor, dict[str, Tensor]]
"""The loss to backpropagate and the scalars to log."""


def pretrain_gan(
    job: Job,
    generator_settings: GeneratorSettings,
    discriminator_settings: DiscriminatorSettings,
    settings: GanSettings,
    task_settings: PretrainGanSettings,
    data_paths: Sequence[Path],
    classifier_path: Path,
) -> None:
    """Train a new GAN on the first task; writes ``gan.safetensors``."""
    rng = job.start()
    data = load_task_data(only(data_paths), job.device, job.data_on_device)
    trained = load_classifier(classifier_path, job.device)
    require_classes(classifier_path, trained.network.n_classes, data.n_new, "the GAN of task 0")
    generator, discriminator = new_gan(
        settings, generator_settings, discriminator_settings, trained.network, data.n_classes, data.images
    )
    training = GanTraining(
        job, settings, task_settings, generator, discriminator, trained.network,
        settings.ada.probability, None, data, rng,
    )  # fmt: skip
    fit(training)


def train_gan(
    job: Job,
    settings: GanSettings,
    task_settings: TrainGanSettings,
    data_paths: Sequence[Path],
    classifier_path: Path,
    old_gan_path: Path,
) -> None:
    """Train the GAN on a later task; writes ``gan.safetensors``."""
    rng = job.start()
    data = load_task_data(only(data_paths), job.device, job.data_on_device)
    trained = load_classifier(classifier_path, job.device)
    what = f"the GAN of task {data.task}"
    require_classes(classifier_path, trained.network.n_classes, data.n_old + data.n_new, what)
    old = load_gan(old_gan_path, job.device)
    require_classes(old_gan_path, old.n_classes_seen, data.n_old, what)
    require_matching(old_gan_path, old, settings)
    generator, discriminator = copy.deepcopy(old.generator), old.discriminator
    if task_settings.reinitialize_generator:
        generator = Generator(**generator.description)
    if task_settings.reinitialize_discriminator:
        discriminator = Discriminator(**discriminator.description)
    ada = settings.ada
    continues = ada.mode == "adaptive" and not ada.reset_each_task
    training = GanTraining(
        job, settings, task_settings, generator, discriminator, trained.network,
        old.ada_probability if continues else ada.probability,
        Distillation(old.generator, task_settings, data.n_old, data.n_new), data, rng,
    )  # fmt: skip
    fit(training)


def fit(training: GanTraining) -> None:
    """Run the loop of a training and write its checkpoint."""
    job, data, normalize = training.job, training.data, training.normalize
    count = training.task_settings.steps
    collapse = Collapse(job.collapse_limit, count)
    diversity = Diversity(
        training.generator,
        None if training.distillation is None else training.distillation.teacher,
        training.features,
        training.discriminator_input,
        job.autocast,
        training.settings.batch_size // 2,
        data,
        normalize,
        job_seed(job.seed, "diversity", job.task),
    )
    n_classes = data.n_old + data.n_new
    grid_seed = job_seed(job.seed, "sample_grid", job.task)
    sample_grid = SampleGrid(training.g_ema, n_classes, normalize, grid_seed, job.device)
    with job.loop(count, training.parts | {"collapse": collapse}, collapse.judge) as loop:
        for step in loop:
            scalars = training.step(training.draw_batch(), step)
            if collapse.due(step):
                scalars["diversity"] = diversity(training.g_ema)
                scalars["ema_distance"] = relative_distance(training.g_ema, training.generator)
            loop.record(step, scalars)
            if training.g_ema.stage == 0 and loop.sample_grid_due(step):
                loop.sample_grid(step, "samples", sample_grid(training.g_ema))
    if parallel.is_first():
        save_gan(
            job.output / "gan.safetensors",
            training.g_ema,
            training.discriminator,
            n_classes,
            float(training.ada.probability),
        )
    loop.finish()


@dataclass(frozen=True)
class GanBatch:
    """Everything that is drawn for one step; samples of old classes come first.

    Attributes:
        z: (n, latent_dim): latent vectors of the generated samples.
        labels: (n,): classes requested from the generator.
        images: normalised real images of the new classes, as many as the last part of ``real_labels``.
        real_labels: (n,): labels of the teacher's samples (as requested) and of ``images``.
        teacher_noise, discriminator_noise, generator_noise: noise maps of the teacher and of the generator in
            the discriminator's step, and of the generator in its own step; None if ``gan.share_generated``
            uses ``discriminator_noise`` for all.
        augmentation: augmentation of the real and fake images of the discriminator's step (joined), and of
            the images of the generator's step (None if both steps share the samples); None without
            augmentation.
    """

    z: Tensor
    labels: Tensor
    images: Tensor
    real_labels: Tensor
    teacher_noise: list[Tensor] | None
    discriminator_noise: list[Tensor]
    generator_noise: list[Tensor] | None
    augmentation: tuple[Amounts, Amounts | None] | None = None


class Generated(NamedTuple):
    """The generator's output for a batch, with the graph to its weights.

    Attributes:
        samples: the generator's output.
        features: the discriminator's input for these samples.
        targets: the teacher's samples of the old classes from the same latents and noise; None if not needed.
    """

    samples: Tensor
    features: Tensor
    targets: Tensor | None


class Distillation:
    """The distillation of the generator from the teacher.

    Attributes:
        weight: weight of the distance between their samples from the same latents.
        stage: stage of the classifier at which the distance is measured.
    """

    def __init__(self, teacher: Generator, settings: TrainGanSettings, n_old: int, n_new: int) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.weight = settings.distillation_weight * (n_old / n_new if settings.distillation_grows else 1)
        self.stage = max(settings.distillation_stage, teacher.stage)
        self.loss = settings.distillation_loss


class GanTraining:
    """The training of a GAN, step by step.

    Args:
        task_settings: settings of the first or of later tasks: number of steps, ramp-up of the EMA.
        classifier: the frozen classifier; the discriminator gets only its features at the matching stage.
        ada_probability: initial probability of the augmentation.
        distillation: distillation from the teacher; None on the first task.

    Attributes:
        g_ema: the generator's exponential moving average, which goes into the checkpoint.
        parts: the parts whose states a resume file holds, by name.
    """

    def __init__(
        self,
        job: Job,
        settings: GanSettings,
        task_settings: PretrainGanSettings | TrainGanSettings,
        generator: Generator,
        discriminator: Discriminator,
        classifier: Classifier,
        ada_probability: float,
        distillation: Distillation | None,
        data: TaskData,
        rng: torch.Generator,
    ) -> None:
        self.job, self.settings, self.task_settings = job, settings, task_settings
        self.data, self.rng, self.distillation = data, rng, distillation
        self.generator = generator.to(job.device).to(memory_format=torch.channels_last).train()
        self.discriminator = discriminator.to(job.device).to(memory_format=torch.channels_last).train()
        self.classifier = classifier.folded().to(memory_format=torch.channels_last)
        if job.precision == "bf16":
            self.classifier.bfloat16()  # frozen, so one conversion replaces autocast's in every pass
        self.g_ema = copy.deepcopy(self.generator).requires_grad_(False)
        # Collected once: for a small network, walking through the modules takes longer than the EMA's update.
        self.weights, self.averages = list(self.generator.parameters()), list(self.g_ema.parameters())
        self.normalize = Normalization(data.mean, data.std).to(job.device)
        self.needs_targets = distillation is not None and (
            settings.share_generated or distillation.weight > 0
        )
        n = settings.batch_size
        self.n_old_samples = n // 2 if data.n_old else 0
        parts = {"samples of old classes": self.n_old_samples, "of new ones": n - self.n_old_samples}
        parallel.require_even("gan.batch_size", n, parts)
        self.batches = ShuffledBatches(data, n - self.n_old_samples, rng)
        ada = settings.ada
        self.augment = Augmentation(data.images.shape[-1]).to(job.device)
        self.ada = AdaController(
            ada.target, ada.interval, ada.full_range_steps, ada.max_probability, ada_probability, job.device
        )
        # Lazy regularisation: the penalty counts as an extra step every r1_interval steps, so learning rate
        # and betas are rescaled (Karras et al., 2020, appendix B).
        lazy = settings.r1_interval / (settings.r1_interval + 1) if settings.r1_interval > 1 else 1.0
        self.r1_gamma = settings.r1_gamma * lazy
        self.generator_optimizer = eager(torch.optim.Adam)(
            generator.parameters(), settings.generator_learning_rate, betas=(0.0, 0.99), fused=True
        )
        self.discriminator_optimizer = eager(torch.optim.Adam)(
            discriminator.parameters(),
            settings.discriminator_learning_rate * lazy,
            betas=(0.0, 0.99**lazy),
            fused=True,
        )
        optimizers = (self.generator_optimizer, self.discriminator_optimizer)
        self.learning_rates = [(optimizer, optimizer.param_groups[0]["lr"]) for optimizer in optimizers]
        self.parts: dict[str, Part] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator's optimizer": self.generator_optimizer,
            "discriminator's optimizer": self.discriminator_optimizer,
            "generator's EMA": self.g_ema,
            "augmentation": self.ada,
            "batches": self.batches,
            "rng": rng,
        }
        self.feature_means: FeatureMeans | None = None
        if settings.feature_means_weight > 0:
            self.feature_means = self.parts["feature means"] = FeatureMeans(
                self.pooled,
                data,
                self.normalize,
                distillation.teacher if distillation is not None else None,
                seeded_generator(job_seed(job.seed, "feature_means", job.task), job.device),
            )
        self._shared_pass = job.compiled(self.shared_pass) if settings.share_generated else None
        self._discriminator_inputs = job.compiled(self.discriminator_inputs)
        self._discriminator_loss = job.compiled(self.discriminator_loss)
        self._generator_loss = job.compiled(self.generator_loss)

    def draw_batch(self) -> GanBatch:
        """Draw this process's part of a batch: half old and half new classes; on the first task, only new."""
        settings, generator, data, rng = self.settings, self.generator, self.data, self.rng
        device, size = data.labels.device, data.images.shape[-1]
        n, n_old, shared = settings.batch_size, self.n_old_samples, settings.share_generated
        pixels, labels = next(self.batches)
        images = random_crop_and_flip(self.normalize(pixels), 0, settings.horizontal_flip, rng)
        old = torch.randint(max(data.n_old, 1), (n_old,), generator=rng, device=device)
        new = torch.randint(data.n_old, data.n_old + data.n_new, (n - n_old,), generator=rng, device=device)
        batch = GanBatch(
            z=torch.randn(n, generator.latent_dim, generator=rng, device=device),
            labels=torch.cat([old, new]),
            images=images,
            real_labels=torch.cat([old, labels]),
            teacher_noise=generator.draw_noise(n_old, rng) if n_old and not shared else None,
            discriminator_noise=generator.draw_noise(n, rng),
            generator_noise=None if shared else generator.draw_noise(n, rng),
            augmentation=(
                draw_amounts(2 * n, size, self.ada.probability, rng),
                None if shared else draw_amounts(n, size, self.ada.probability, rng),
            )
            if settings.ada.mode != "none"
            else None,
        )
        return parallel.own(batch)

    def step(self, batch: GanBatch, step: int) -> dict[str, Tensor]:
        """Take a step (counted from 0): update the discriminator, then the generator and its EMA."""
        self.set_learning_rates(step)
        generated = self.share(batch)
        scalars = self.discriminator_step(batch, step, generated)
        if step % self.settings.critic_steps == 0:
            scalars |= self.generator_step(batch, generated)
            self.update_ema(step // self.settings.critic_steps)
        return parallel.averaged(scalars)

    def set_learning_rates(self, step: int) -> None:
        """Decrease both learning rates linearly from ``gan.decay_start`` on."""
        start = self.settings.decay_start
        if start < 1:
            left = 1 - step / self.task_settings.steps
            for optimizer, rate in self.learning_rates:
                optimizer.param_groups[0]["lr"] = rate * min(left / (1 - start), 1)

    def share(self, batch: GanBatch) -> Generated | None:
        """Generate samples for both halves of a step with ``gan.share_generated``; else return None."""
        return self._shared_pass(batch) if self._shared_pass is not None else None

    def discriminator_step(
        self, batch: GanBatch, step: int, generated: Generated | None = None
    ) -> dict[str, Tensor]:
        """Update the discriminator to tell real features from generated ones, with R1 when it is due."""
        both = self._discriminator_inputs(batch, generated)
        if self.r1_gamma > 0 and step % self.settings.r1_interval == 0:
            loss, scalars = self.penalized_discriminator_loss(both, batch)
        else:
            loss, scalars = self._discriminator_loss(both, batch)
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        parallel.average_gradients(self.discriminator.parameters())
        self.discriminator_optimizer.step()
        if self.settings.ada.mode == "adaptive":
            self.ada.update(step, scalars["sign_of_d_real"])
            scalars["ada_probability"] = self.ada.probability
        return scalars

    def generator_step(self, batch: GanBatch, generated: Generated | None = None) -> dict[str, Tensor]:
        """Update the generator to fool the discriminator and to reproduce the teacher's samples."""
        self.discriminator.requires_grad_(False)
        loss, scalars = self._generator_loss(batch, generated)
        self.generator_optimizer.zero_grad()
        loss.backward()
        parallel.average_gradients(self.weights)
        self.discriminator.requires_grad_(True)
        self.generator_optimizer.step()
        return scalars

    def update_ema(self, generator_step: int) -> None:
        """Move the EMA towards the generator after one of its steps (counted from 0)."""
        settings = self.settings
        rampup = self.task_settings.ema_rampup_steps
        decay = ema_decay(generator_step, settings.batch_size, settings.ema_half_life, rampup)
        update_average(self.averages, self.weights, decay)

    def shared_pass(self, batch: GanBatch) -> Generated:
        """Generate samples for both halves of a step, with the discriminator's noise and augmentation."""
        amounts = batch.augmentation and part_of(batch.augmentation[0], len(batch.labels), None)
        return self.generate(batch, batch.discriminator_noise, amounts)

    def generate(self, batch: GanBatch, noise: list[Tensor], amounts: Amounts | None) -> Generated:
        """Generate samples and the discriminator's input; on later tasks also the teacher's samples."""
        with self.job.autocast():
            samples = self.generator(batch.z, batch.labels, noise)
            features = self.discriminator_input(samples.float(), amounts)
            targets = self.teacher_samples(batch, noise) if self.needs_targets else None
        return Generated(samples, features, targets)

    @torch.no_grad()
    def teacher_samples(self, batch: GanBatch, noise: list[Tensor]) -> Tensor:
        """Generate the teacher's samples of the old classes."""
        assert self.distillation is not None
        n_old = len(batch.labels) - len(batch.images)
        old_noise = [maps[:n_old] for maps in noise]
        return self.distillation.teacher(batch.z[:n_old], batch.labels[:n_old], old_noise)

    @torch.no_grad()
    def discriminator_inputs(self, batch: GanBatch, generated: Generated | None) -> Tensor:
        """Return the discriminator's input for real samples, followed by that for generated samples."""
        n = len(batch.labels)
        amounts = batch.augmentation and batch.augmentation[0]
        with self.job.autocast():
            real = batch.images if self.generator.stage == 0 else self.features(batch.images).float()
            if generated is not None:
                if generated.targets is not None:
                    real = torch.cat([generated.targets.float(), real])
                real_features = self.discriminator_input(real, amounts and part_of(amounts, 0, n))
                return torch.cat([real_features, generated.features])
            if batch.teacher_noise is not None:
                real = torch.cat([self.teacher_samples(batch, batch.teacher_noise).float(), real])
            fake = self.generator(batch.z, batch.labels, batch.discriminator_noise)
            return self.discriminator_input(torch.cat([real, fake.float()]), amounts)

    def discriminator_loss(self, both: Tensor, batch: GanBatch) -> LossAndScalars:
        """Compute the discriminator's loss on features of n real and n generated samples, joined."""
        labels = torch.cat([batch.real_labels, batch.labels])
        with self.job.autocast():
            real_logits, fake_logits = self.discriminator(both, labels, parts=2).float().chunk(2)
        loss = discriminator_loss(real_logits, fake_logits)
        return loss, discriminator_scalars(loss, real_logits, fake_logits)

    def penalized_discriminator_loss(self, both: Tensor, batch: GanBatch) -> LossAndScalars:
        """Compute the discriminator's loss with R1, in float32 on the real samples.

        R1 needs double backward, so this function is not compiled.
        """
        real, fake = both.chunk(2)
        real = real.float().requires_grad_()
        with self.job.autocast():
            fake_logits = self.discriminator(fake, batch.labels).float()
        real_logits = self.discriminator(real, batch.real_labels)
        loss = discriminator_loss(real_logits, fake_logits)
        r1 = r1_penalty(real_logits, real, self.r1_gamma)
        return loss + r1, discriminator_scalars(loss, real_logits, fake_logits) | {"r1": r1.detach()}

    def generator_loss(self, batch: GanBatch, generated: Generated | None) -> LossAndScalars:
        """Compute the generator's loss: the discriminator's verdict, and on later tasks the distillation."""
        if generated is None:
            assert batch.generator_noise is not None
            amounts = batch.augmentation and batch.augmentation[1]
            generated = self.generate(batch, batch.generator_noise, amounts)
        with self.job.autocast():
            fake_logits = self.discriminator(generated.features, batch.labels).float()
        loss = generator_loss(fake_logits)
        scalars = {"g_loss": loss.detach()}
        if self.settings.guidance_weight > 0 or self.feature_means is not None:
            classifier_loss, more = self.classifier_loss(generated.features, batch.labels)
            loss, scalars = loss + classifier_loss, scalars | more
        distillation, targets = self.distillation, generated.targets
        if distillation is None or targets is None or distillation.weight == 0:
            return loss, scalars
        stage, start = distillation.stage, self.generator.stage
        with self.job.autocast():
            with torch.no_grad():
                old = self.classifier.features(targets, stage, start=start)
            new = self.classifier.features(generated.samples[: len(targets)], stage, start=start)
        distance = generator_distillation(old, new, distillation.loss)
        return loss + distillation.weight * distance, scalars | {"g_distillation": distance.detach()}

    def classifier_loss(self, features: Tensor, labels: Tensor) -> LossAndScalars:
        """Compute the frozen classifier's losses on generated samples, given the requested classes.

        The cross-entropy is the auxiliary classifier's loss of Odena et al. (2017), but from a classifier
        that was trained only on real images. Both losses start from the discriminator's input.

        Args:
            features: the discriminator's input for the generated samples.
            labels: (n,): the requested classes.
        """
        settings = self.settings
        loss, scalars = torch.zeros((), device=labels.device), {}
        with self.job.autocast():
            pooled = self.classifier.features(features, POOLED, start=settings.matching_stage)
            logits = self.classifier.head(pooled)
        if settings.guidance_weight > 0:
            guidance = F.cross_entropy(logits.float(), labels)
            loss = loss + settings.guidance_weight * guidance
            scalars["g_guidance"] = guidance.detach()
        if self.feature_means is not None:
            distance = self.feature_means.distance(pooled, labels)
            loss = loss + settings.feature_means_weight * distance
            scalars["g_feature_means"] = distance.detach()
        return loss, scalars

    def discriminator_input(self, samples: Tensor, amounts: Amounts | None) -> Tensor:
        """Return the discriminator's input for samples: their features at the matching stage.

        Images are augmented first if ``amounts`` are given. Generated features are returned unchanged.
        """
        if self.generator.stage > 0:
            return samples
        return self.features(samples if amounts is None else self.augment(samples, amounts))

    def features(self, images: Tensor) -> Tensor:
        """Return the features of images at the matching stage."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.classifier.features(images, self.settings.matching_stage)

    def pooled(self, samples: Tensor, stage: int = 0) -> Tensor:
        """Return the pooled features of images (stage 0), or of features of a stage."""
        samples = samples.contiguous(memory_format=torch.channels_last) if samples.dim() == 4 else samples
        with self.job.autocast():
            return self.classifier.features(samples, POOLED, start=stage).float()


def discriminator_scalars(loss: Tensor, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
    """Return the scalars to log for a discriminator's step, with the logits of all processes."""
    real_logits, fake_logits = (parallel.gathered(logits.detach()) for logits in (real_logits, fake_logits))
    return {
        "d_loss": loss.detach(),
        "d_real": real_logits.mean(),
        "d_fake": fake_logits.mean(),
        "d_spread": torch.cat([real_logits, fake_logits]).std(),
        "sign_of_d_real": real_logits.sign().mean(),
    }
