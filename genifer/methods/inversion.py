"""The base class of methods that train on images inverted from the teacher (Smith et al., 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from genifer.methods.generative_replay import channels_last
from genifer.methods.method import Batch, Method
from genifer.settings import PositiveFloat, PositiveInt, TrainingSettings, Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from genifer.nn.classifier import Classifier


class InversionSettings(TrainingSettings):
    """Settings of the inversion, and of a training on inverted and new images."""

    inversion_steps: PositiveInt = Field(
        5_000, description="steps in which the inverting generator is trained, once per task"
    )
    inversion_batch_size: PositiveInt = Field(128, description="images per step of the inversion")
    inversion_width: PositiveInt = Field(
        64,
        description="channels of the inverting generator's last hidden layer; the others have twice as many",
    )
    inversion_learning_rate: PositiveFloat = Field(
        1e-3, description="learning rate of the inverting generator's Adam"
    )
    inversion_temperature: PositiveFloat = Field(
        1_000.0, description="temperature of the teacher's outputs in the inversion"
    )
    diversity_weight: Weight = Field(1.0, description="weight of the entropy of a batch's mean prediction")
    statistics_weight: Weight = Field(
        50.0, description="weight of the distance to the running statistics of the teacher's batch norm"
    )
    smoothness_weight: Weight = Field(
        1e-3, description="weight of the distance between an image and its blurred copy"
    )


class InvertedReplay(Method):
    """A method whose batches hold as many images inverted from the teacher as new images.

    Smith et al. (2021): at the start of a task, a generator learns to generate images that the teacher
    classifies confidently (section 3, with the losses of section 4 for confidence, diversity, batch
    statistics and smoothness). In the authors' code the KL divergence between the batch and the running
    statistics has the other direction, and the entropy of the classes is divided by the logarithm of their
    number.
    """

    uses_teacher = True
    settings: InversionSettings
    _inverter: nn.Module | None = None

    def prepare(self) -> dict[str, Tensor]:
        """Train the inverting generator, and return its weights."""
        import torch

        settings, teacher = self.settings, self.teacher
        inverter = self.new_inverter().train()
        optimizer = torch.optim.Adam(inverter.parameters(), settings.inversion_learning_rate)
        steps = self.preparation(settings.inversion_steps, {"inverter": inverter, "optimizer": optimizer})
        with _BatchStatistics(teacher) as statistics:
            for _ in steps:
                images = inverter(self.latents(settings.inversion_batch_size))
                with self.job.autocast():
                    logits = teacher(channels_last(images))
                loss = inversion_loss(images, logits.float(), statistics.distance(), settings)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return {name: tensor.detach() for name, tensor in inverter.state_dict().items()}

    def new_inverter(self) -> nn.Module:
        """Return a new inverting generator, initialised from the training's random numbers."""
        import torch

        seed = int(torch.randint(2**31, (), generator=self.rng, device=self.job.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._build_inverter()

    def _build_inverter(self) -> nn.Module:
        channels, size = self.data.images.shape[1:3]
        return inverting_generator(channels, size, self.settings.inversion_width).to(self.job.device)

    def latents(self, count: int) -> Tensor:
        """Draw random inputs (count, 1000) of the inverting generator."""
        import torch

        return torch.randn(count, LATENT_DIM, generator=self.rng, device=self.job.device)

    def draw_batch(self) -> Batch:
        """Draw new images, and generate as many inverted ones."""
        import torch

        if self._inverter is None:
            self._inverter = self._build_inverter().eval()
            self._inverter.load_state_dict(self.prepared)
        batch = super().draw_batch()
        with torch.no_grad():
            inverted = self._inverter(self.latents(len(batch.images)))
        return batch._replace(replay=self.augment(inverted))


LATENT_DIM = 1_000

LARGEST_START = 16
"""Largest size of the inverting generator's first maps. Its first layer grows with the square of it."""


def inverting_generator(channels: int, size: int, width: int) -> nn.Module:
    """Return a small convolutional generator that maps latents (n, 1000) to images.

    Its images (n, channels, size, size) have mean 0 and variance 1 per channel. Its first maps have a quarter
    of the images' size, or for images above 64 pixels an eighth, a sixteenth, ...: at most 16. The last
    hidden layer has ``width`` channels, the others have twice as many.
    """
    from torch import nn

    start, wide, doublings = -(-size // 4), 2 * width, 1
    while start > LARGEST_START:
        start, doublings = -(-start // 2), doublings + 1
    # In the order of the layers, because each draws its weights when it is created.
    layers: list[nn.Module] = [
        nn.Linear(LATENT_DIM, wide * start**2),
        nn.Unflatten(1, (wide, start, start)),
        nn.BatchNorm2d(wide),
    ]
    for _ in range(doublings):
        layers += [
            nn.Upsample(scale_factor=2),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.BatchNorm2d(wide),
            nn.LeakyReLU(0.2),
        ]
    layers += [
        nn.Upsample(size=(size, size)),
        nn.Conv2d(wide, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, channels, 3, padding=1),
        nn.Tanh(),
        nn.BatchNorm2d(channels, affine=False),
    ]
    return nn.Sequential(*layers)


def inversion_loss(images: Tensor, logits: Tensor, statistics: Tensor, settings: InversionSettings) -> Tensor:
    """Compute how far images are from those that the teacher has learned from.

    Args:
        images: (n, channels, size, size).
        logits: (n, old classes): the teacher's logits.
        statistics: distance of the batch's statistics from the teacher's running statistics.

    Returns:
        The weighted sum of the four losses (Smith et al., 2021, section 4), a scalar.
    """
    import torch.nn.functional as F
    from torchvision.transforms.v2.functional import gaussian_blur

    confidence = F.cross_entropy(logits / settings.inversion_temperature, logits.argmax(1))
    mean = logits.softmax(1).mean(0)
    negative_entropy = (mean * mean.clamp(min=1e-12).log()).sum()
    roughness = (images - gaussian_blur(images, [5, 5], [1.0, 1.0])).square().mean()
    return (
        confidence
        + settings.diversity_weight * negative_entropy
        + settings.statistics_weight * statistics
        + settings.smoothness_weight * roughness
    )


class _BatchStatistics:
    """Context manager that compares the inputs of a network's batch norms with their running statistics."""

    def __init__(self, network: Classifier) -> None:
        from torch import nn

        self.norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self.distances: list[Tensor] = []
        self.handles: list[Any] = []

    def __enter__(self) -> _BatchStatistics:
        self.handles = [norm.register_forward_pre_hook(self.watch) for norm in self.norms]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def watch(self, norm: Any, inputs: tuple[Tensor]) -> None:
        """Record the KL divergence of normal distributions with the batch's and the running statistics."""
        x = inputs[0].float()
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False) + norm.eps
        running_mean, running_variance = norm.running_mean, norm.running_var + norm.eps
        ratio = variance / running_variance
        shift = (mean - running_mean).square() / running_variance
        self.distances.append(0.5 * (ratio - ratio.log() - 1 + shift).mean())

    def distance(self) -> Tensor:
        """Return the mean over all batch norms since the last call."""
        import torch

        distances, self.distances = self.distances, []
        return torch.stack(distances).mean()
