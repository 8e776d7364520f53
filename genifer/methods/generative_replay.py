"""What methods share that replay a generator's samples beside new images."""

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
    """Settings of a training from new images and a generator's samples of old classes."""

    replay_fraction: Annotated[float, Field(gt=0, lt=1)] | Literal["adaptive"] = Field(
        0.5, description="share of replay in a batch; adaptive: old classes / classes so far"
    )
    augment_replay: bool = Field(True, description="crop and mirror replay as real images are")
    replay_candidates: PositiveInt = Field(
        1,
        description="samples generated for each one that is replayed: the one which the teacher takes most "
        "surely for the class asked for",
    )

    def replay_per_batch(self, n_old: int, n_new: int) -> int:
        """Samples of replay in a batch."""
        return int(share(self.replay_fraction, n_old, n_new) * self.batch_size)


def share(setting: float | Literal["adaptive"], part: int, rest: int) -> float:
    """Value of a setting that may follow the number of classes, as the weights of Wu et al. (2019) do."""
    return part / (part + rest) if setting == "adaptive" else setting


class GenerativeReplay(Method):
    """A method whose batches are images of the new classes, and samples of old ones from the GAN before.

    In the direct mode the generator makes features, which enter the classifier at their stage.
    """

    uses_gan = True
    uses_teacher = True
    _replay: Callable[[Tensor, Tensor, list[Tensor]], Tensor]

    @classmethod
    def check(cls, settings: Any, run: RunSettings) -> None:
        """Refuse batches without room for both replay and real images."""
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
        """Compile the generation of replay."""
        self._replay = self.job.compiled(self.replay)

    @property
    def n_replay(self) -> int:
        """Samples of replay in a batch."""
        return self.settings.replay_per_batch(self.data.n_old, self.data.n_new)

    def images_per_batch(self) -> int:
        """Real images in a batch: what the replay leaves."""
        return self.settings.batch_size - self.n_replay

    def draw_batch(self) -> Batch:
        """Draw real images and generate replay of random old classes; processes share the generation."""
        import torch

        from genifer.runtime.parallel import gathered, own

        pixels, labels = next(self.batches)
        n, candidates, device, rng = self.n_replay, self.settings.replay_candidates, self.job.device, self.rng
        asked = torch.randint(self.data.n_old, (n,), generator=rng, device=device).repeat(candidates)
        z = torch.randn(len(asked), self.generator.latent_dim, generator=rng, device=device)
        replay = gathered(self._replay(*own((z, asked, self.generator.draw_noise(len(asked), rng)))))
        if candidates > 1:
            replay = self.surest(replay, asked)
        images = self.normalize(pixels)
        if self.settings.augment_replay and self.generator.stage == 0:
            both = self.augment(torch.cat([replay, images]))
            return Batch(both[n:], labels, both[:n], asked[:n])
        return Batch(self.augment(images), labels, replay, asked[:n])

    def replay(self, z: Tensor, labels: Tensor, noise: list[Tensor]) -> Tensor:
        """Generate replay under autocast."""
        from genifer.training.replay import generate_replay

        with self.job.autocast():
            return generate_replay(self.generator, z, labels, noise, self.normalize)

    def surest(self, replay: Tensor, asked: Tensor) -> Tensor:
        """Of each sample's candidates keep the one with the highest probability of its class.

        Rejection by a classifier's confidence; compare Azadi et al. (2019), who reject by the discriminator.

        Args:
            replay: (candidates * n, ...), the first candidates of all samples, then the second ones, ...
            asked: (candidates * n,), the classes asked for.

        Returns:
            (n, ...).
        """
        import torch
        import torch.nn.functional as F

        with torch.no_grad(), self.job.autocast():
            logits = self.teacher(channels_last(replay), start=self.generator.stage)
        n = self.n_replay
        loss = F.cross_entropy(logits.float(), asked, reduction="none").view(-1, n)
        return replay.view(-1, n, *replay.shape[1:])[loss.argmin(0), torch.arange(n, device=loss.device)]


def channels_last(x: Tensor) -> Tensor:
    """Images, or features of a stage, in the memory format of the trainings."""
    import torch

    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
