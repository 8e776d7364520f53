"""The base class of methods that mix new images with samples from a generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from genifer.methods.method import Batch, Method
from genifer.settings import PositiveInt, TrainingSettings

if TYPE_CHECKING:
    from torch import Tensor

    from genifer.config import RunSettings


class ReplaySettings(TrainingSettings):
    """Settings of a training on new images and a generator's samples of old classes."""

    replay_fraction: Annotated[float, Field(gt=0, lt=1)] | Literal["adaptive"] = Field(
        0.5, description="share of replay in a batch; adaptive: old classes / classes so far"
    )
    augment_replay: bool = Field(True, description="crop and mirror replay like real images")
    replay_candidates: PositiveInt = Field(
        1,
        description="samples generated per replayed sample; the one to which the teacher gives the highest "
        "probability of the requested class is replayed",
    )

    def replay_per_batch(self, n_old: int, n_new: int) -> int:
        """Return the number of replay samples per batch, for these numbers of old and new classes."""
        return int(share(self.replay_fraction, n_old, n_new) * self.batch_size)


def share(setting: float | Literal["adaptive"], part: int, rest: int) -> float:
    """Return the value of a setting; for ``adaptive``, part / (part + rest), as in Wu et al. (2019)."""
    return part / (part + rest) if setting == "adaptive" else setting


class GenerativeReplay(Method):
    """A method whose batches mix images of the new classes with the previous GAN's samples of old classes.

    In direct mode the generator produces features, which enter the classifier at their stage.
    """

    uses_gan = True
    uses_teacher = True
    _replay: Callable[[Tensor, Tensor, list[Tensor]], Tensor]

    @classmethod
    def check(cls, settings: Any, run: RunSettings) -> None:
        """Reject batches without room for both replay and real images."""
        tasks = run.scenario.tasks
        for task in range(1, len(tasks)):
            n_old, n_new = sum(tasks[:task]), tasks[task]
            if not 0 < settings.replay_per_batch(n_old, n_new) < settings.batch_size:
                raise ValueError(
                    f"{cls.name}.replay_fraction: {settings.replay_fraction} of {cls.name}.batch_size: "
                    f"{settings.batch_size} leaves no room for both replay and real images ({n_old} old and "
                    f"{n_new} new classes)"
                )

    def setup(self) -> None:
        """Compile `replay`."""
        self._replay = self.job.compiled(self.replay)

    @property
    def n_replay(self) -> int:
        """Number of replay samples per batch."""
        return self.settings.replay_per_batch(self.data.n_old, self.data.n_new)

    def images_per_batch(self) -> int:
        """Return the number of real images per batch: all samples that are not replay."""
        return self.settings.batch_size - self.n_replay

    def draw_batch(self) -> Batch:
        """Draw real images, and generate replay of random old classes; each process generates a part."""
        import torch

        from genifer.runtime.parallel import gathered, own

        pixels, labels = next(self.batches)
        n, candidates, device, rng = self.n_replay, self.settings.replay_candidates, self.job.device, self.rng
        requested = torch.randint(self.data.n_old, (n,), generator=rng, device=device).repeat(candidates)
        z = torch.randn(len(requested), self.generator.latent_dim, generator=rng, device=device)
        noise = self.generator.draw_noise(len(requested), rng)
        replay = gathered(self._replay(*own((z, requested, noise))))
        if candidates > 1:
            replay = self.most_confident(replay, requested)
        images = self.normalize(pixels)
        if self.settings.augment_replay and self.generator.stage == 0:
            both = self.augment(torch.cat([replay, images]))
            return Batch(both[n:], labels, both[:n], requested[:n])
        return Batch(self.augment(images), labels, replay, requested[:n])

    def replay(self, z: Tensor, labels: Tensor, noise: list[Tensor]) -> Tensor:
        """Generate replay under autocast."""
        from genifer.training.replay import generate_replay

        with self.job.autocast():
            return generate_replay(self.generator, z, labels, noise, self.normalize)

    def most_confident(self, replay: Tensor, labels: Tensor) -> Tensor:
        """Keep the candidate of each sample whose requested class the teacher finds most probable.

        This is rejection by a classifier's confidence; Azadi et al. (2019) reject by the discriminator.

        Args:
            replay: (candidates * n, ...): the first candidates of all samples, then the second ones, ...
            labels: (candidates * n,): the requested classes.

        Returns:
            (n, ...).
        """
        import torch
        import torch.nn.functional as F

        with torch.no_grad(), self.job.autocast():
            logits = self.teacher(channels_last(replay), start=self.generator.stage)
        n = self.n_replay
        loss = F.cross_entropy(logits.float(), labels, reduction="none").view(-1, n)
        return replay.view(-1, n, *replay.shape[1:])[loss.argmin(0), torch.arange(n, device=loss.device)]


def channels_last(x: Tensor) -> Tensor:
    """Return images, or features of a stage, in channels-last memory format; pooled features unchanged."""
    import torch

    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
