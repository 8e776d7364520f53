"""Always be dreaming (Smith et al., 2021): images inverted from the teacher, no generator kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from genifer.methods.generative_replay import channels_last
from genifer.methods.method import Batch, Method
from genifer.settings import PositiveFloat, PositiveInt, TrainingSettings, Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from genifer.nn.classifier import Classifier


class AbdSettings(TrainingSettings):
    """Settings of the inversion, and of the classifier's training from inverted and new images."""

    inversion_steps: PositiveInt = Field(5_000, description="steps of the inverting generator, once per task")
    inversion_batch_size: PositiveInt = Field(128, description="images per step of the inversion")
    inversion_learning_rate: PositiveFloat = Field(1e-3, description="of Adam in the inversion")
    inversion_temperature: PositiveFloat = Field(
        1_000.0, description="temperature of the teacher's outputs in the inversion"
    )
    diversity_weight: Weight = Field(1.0, description="weight of the entropy of a batch's mean prediction")
    statistics_weight: Weight = Field(
        50.0, description="weight of the distance to the running statistics of the teacher's batch norm"
    )
    smoothness_weight: Weight = Field(1e-3, description="weight of the distance to the blurred image")
    feature_weight: Weight = Field(
        0.1, description="weight of the feature distillation, as seen through the old classes' head"
    )
    balance_weight: Weight = Field(
        1.0, description="weight of the head's cross-entropy over all classes on detached features"
    )


class Abd(Method):
    """Always be dreaming: at the start of a task, images of old classes are inverted from the teacher.

    Smith et al. (2021): a generator is trained to make images that the teacher is sure of (section 3, with
    the losses of section 4 for confidence, diversity, batch statistics and smoothness); then cross-entropy
    among the new classes on new images, distillation of features weighted by the old head on both, and a
    head tuned on both with features detached (section 5). Left out: the class weights of the last term,
    because batches hold as many inverted as new images.
    """

    name = "abd"
    version = 1
    Settings = AbdSettings
    uses_teacher = True
    settings: AbdSettings
    _inverter: nn.Module | None = None

    def prepare(self) -> dict[str, Tensor]:
        """Train the inverting generator; its weights are all that is returned."""
        import torch

        settings, teacher = self.settings, self.teacher
        inverter = self.new_inverter().train()
        optimizer = torch.optim.Adam(inverter.parameters(), settings.inversion_learning_rate)
        with _BatchStatistics(teacher) as statistics:
            for _ in range(settings.inversion_steps):
                images = inverter(self.latents(settings.inversion_batch_size))
                with self.job.autocast():
                    logits = teacher(channels_last(images))
                loss = inversion_loss(images, logits.float(), statistics.distance(), settings)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return {name: tensor.detach() for name, tensor in inverter.state_dict().items()}

    def new_inverter(self) -> nn.Module:
        """A small convolutional generator of normalised images, with the training's random numbers."""
        import torch

        channels, size = self.data.images.shape[1:3]
        seed = int(torch.randint(2**31, (), generator=self.rng, device=self.job.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return inverting_generator(channels, size).to(self.job.device)

    def latents(self, count: int) -> Tensor:
        """Random inputs of the inverting generator."""
        import torch

        return torch.randn(count, LATENT_DIM, generator=self.rng, device=self.job.device)

    def draw_batch(self) -> Batch:
        """Draw new images, and invert as many."""
        import torch

        if self._inverter is None:
            channels, size = self.data.images.shape[1:3]
            self._inverter = inverting_generator(channels, size).to(self.job.device).eval()
            self._inverter.load_state_dict(self.prepared)
        batch = super().draw_batch()
        with torch.no_grad():
            inverted = self._inverter(self.latents(len(batch.images)))
        return batch._replace(replay=self.augment(inverted))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Local cross-entropy, feature distillation through the old head, and a balanced head."""
        import torch
        import torch.nn.functional as F

        from genifer.nn.stages import POOLED

        assert batch.replay is not None
        settings, n_old = self.settings, self.data.n_old
        images = channels_last(torch.cat([batch.images, batch.replay]))
        features = self.classifier.features(images, POOLED)
        with torch.no_grad():
            old_features = self.teacher.features(images, POOLED)
            inverted_labels = self.teacher(old_features[len(batch.labels) :], start=POOLED).argmax(1)
        local = self.classifier(features[: len(batch.labels)], start=POOLED)[:, n_old:]
        cross_entropy = F.cross_entropy(local.float(), batch.labels - n_old)
        head = self.teacher.head.weight
        distance = F.linear(features - old_features, head).float().square().mean()
        logits = self.classifier(features.detach(), start=POOLED).float()
        balance = F.cross_entropy(logits, torch.cat([batch.labels, inverted_labels]))
        loss = cross_entropy + settings.feature_weight * distance + settings.balance_weight * balance
        return {
            "loss": loss,
            "cross_entropy": cross_entropy,
            "feature_distillation": distance,
            "balance": balance,
        }


LATENT_DIM = 1_000


def inverting_generator(channels: int, size: int) -> nn.Module:
    """Images (n, channels, size, size), of mean 0 and variance 1 per channel, from latents (n, 1000)."""
    from torch import nn

    start = -(-size // 4)
    return nn.Sequential(
        nn.Linear(LATENT_DIM, 128 * start**2),
        nn.Unflatten(1, (128, start, start)),
        nn.BatchNorm2d(128),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 128, 3, padding=1),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Upsample(size=(size, size)),
        nn.Conv2d(128, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, channels, 3, padding=1),
        nn.Tanh(),
        nn.BatchNorm2d(channels, affine=False),
    )


def inversion_loss(images: Tensor, logits: Tensor, statistics: Tensor, settings: AbdSettings) -> Tensor:
    """How far images are from what the teacher has learned.

    Args:
        images: (n, channels, size, size).
        logits: (n, old classes), of the teacher.
        statistics: distance of the batch's statistics to the teacher's running ones.
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
    """Watches the inputs of a network's batch norms while it is entered."""

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
        """Divergence of normal distributions, of the batch's statistics from the running ones."""
        x = inputs[0].float()
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False) + norm.eps
        running_mean, running_variance = norm.running_mean, norm.running_var + norm.eps
        ratio = variance / running_variance
        off = (mean - running_mean).square() / running_variance
        self.distances.append(0.5 * (ratio - ratio.log() - 1 + off).mean())

    def distance(self) -> Tensor:
        """Mean over the batch norms since it was last asked."""
        import torch

        distances, self.distances = self.distances, []
        return torch.stack(distances).mean()
