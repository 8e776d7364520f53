"""Settings of networks and trainings: each defined once, with its default, unit and meaning.

The defaults are those of the paper's experiment (CIFAR-100, 50 + 5 x 10 classes). A method extends
`TrainingSettings` in its own file; `genifer.config` combines all blocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from genifer.nn.stages import POOLED

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
StageOfClassifier = Annotated[int, Field(ge=0, le=POOLED)]


IMAGENET_WEIGHTS = Path("imagenet")
"""Value of ``classifier.pretrained`` that stands for torchvision's ImageNet weights instead of a file."""


class Settings(BaseModel):
    """Base class of all blocks of settings; unknown keys are rejected, and values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ClassifierSettings(Settings):
    """The network that learns the tasks."""

    architecture: Literal["resnet18", "resnet34", "resnet50"] = Field(
        "resnet18", description="resnet18, resnet34 or resnet50"
    )
    stem: Literal["small", "imagenet"] = Field(
        "small",
        description="small: a 3 x 3 convolution, for images up to 64 pixels; imagenet: a 7 x 7 convolution "
        "and pooling, which reduce the sides to a quarter, for larger images",
    )
    width: PositiveInt = Field(
        64, description="channels after the stem; the groups have 1, 2, 4 and 8 times as many"
    )
    head_bias: bool = Field(True, description="whether the head (the linear layer) has a bias")
    pretrained: Path | None = Field(
        None,
        description="pretrained weights for the first stages on the first task: imagenet, which downloads "
        "torchvision's weights; a .pth or .safetensors file with torchvision's weights; or a "
        "classifier.safetensors of a run; null: none",
    )
    pretrained_stages: Annotated[int, Field(ge=1, le=5)] = Field(
        5,
        description="number of stages with pretrained weights: 1 is the stem, 2 to 5 add the groups; "
        "torchvision's stem fits only stem: imagenet",
    )


class GeneratorSettings(Settings):
    """The network that generates replay."""

    latent_dim: PositiveInt = Field(512, description="length of the latent vector z")
    embedding_dim: PositiveInt = Field(256, description="length of the class embedding")
    style_dim: PositiveInt = Field(512, description="length of the style vector w")
    channels: list[PositiveInt] | None = Field(
        None,
        description="channels of the learned constant and after each convolution: two per resolution "
        "from 4 up; null uses as many as needed of the paper's 512, 512, 256, 256, 128, 128, 64, 64, "
        "then 32, 32, 16, 16, 8, 8",
    )
    normalize_inputs: bool = Field(
        False,
        description="normalise latent vector and class embedding to a mean square of 1, so that the class "
        "has an effect from the first step on",
    )
    mapping_learning_rate: PositiveFloat = Field(
        0.01, description="learning rate of the mapping network, relative to that of the other layers"
    )


class DiscriminatorSettings(Settings):
    """The network that distinguishes real features from generated ones."""

    width: PositiveInt = Field(64, description="the layers have 1 to 8 times as many channels")


class OptimizerSettings(Settings):
    """Optimizer and learning-rate schedule."""

    name: Literal["sgd", "adam", "radam"] = Field("sgd", description="sgd, adam (AMSGrad) or radam")
    learning_rate: PositiveFloat = Field(0.1, description="initial learning rate")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="sgd only (Nesterov)")
    weight_decay: Weight = Field(5e-4, description="weight decay; radam decouples it from the gradient")
    schedule: Literal["multistep", "plateau", "linear", "exponential", "constant"] = Field(
        "multistep",
        description="learning-rate schedule: multistep, plateau, linear, exponential or constant",
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="multistep, plateau: factor of each drop; exponential: factor per epoch"
    )
    milestones: list[Fraction] = Field(
        [0.3, 0.6, 0.8], description="multistep: fractions of the steps after which the rate drops"
    )
    epochs: PositiveInt = Field(
        100, description="plateau, linear, exponential: number of equal parts that the steps are divided into"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        10, description="plateau: epochs without progress before the rate drops"
    )
    threshold: Weight = Field(
        0.1, description="plateau: smallest decrease of the loss that counts as progress"
    )
    minimum: Weight = Field(1e-4, description="plateau: lowest learning rate")


RADAM = OptimizerSettings(name="radam", learning_rate=1e-4)
"""The paper's optimizer for later tasks."""


class TrainingSettings(Settings):
    """Settings that all trainings of a classifier have; methods add their own."""

    steps: PositiveInt = Field(15_600, description="optimizer steps per task")
    batch_size: Annotated[int, Field(ge=2)] = Field(32, description="images per step")
    crop_padding: Annotated[int, Field(ge=0)] = Field(
        4,
        description="pixels on each side that repeat the border before a random crop; 0: no crop",
    )
    horizontal_flip: bool = Field(True, description="mirror half of the images")
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = Field(
        0,
        description="number of classifier stages with frozen weights: 1 is the stem, 5 all but the head",
    )
    frozen_batch_norm: bool = Field(
        False,
        description="frozen stages normalise by their running statistics, which stay fixed, instead of the "
        "batch's",
    )
    optimizer: OptimizerSettings = RADAM


class HeadSettings(Settings):
    """Settings of methods that train only the head after the first task, on features of images."""

    frozen_stages: ClassVar[int] = 5
    frozen_batch_norm: ClassVar[bool] = True
    steps: PositiveInt = Field(5_000, description="optimizer steps per task")
    batch_size: Annotated[int, Field(ge=2)] = Field(128, description="features per step")
    optimizer: OptimizerSettings = OptimizerSettings(name="adam", learning_rate=1e-3, weight_decay=0)


class FrozenSettings(Settings):
    """Settings of methods that train no weights after the first task."""

    steps: ClassVar[int] = 0
    frozen_stages: ClassVar[int] = 0
    batch_size: Annotated[int, Field(ge=2)] = Field(
        500, description="images per pass; does not change results"
    )


MethodSettings = TrainingSettings | HeadSettings | FrozenSettings
"""The base classes for a method's settings."""


class PretrainClassifierSettings(TrainingSettings):
    """The classifier's training on the first task."""

    steps: PositiveInt = Field(78_100, description="optimizer steps (100 epochs in the paper)")
    optimizer: OptimizerSettings = OptimizerSettings()
    rotations: bool = Field(
        False,
        description="also learn each class rotated by 90, 180 and 270 degrees, as three additional classes "
        "that are dropped afterwards; each step has four times as many images",
    )


class AdaSettings(Settings):
    """Discriminator augmentation, adaptive or not (Karras et al., 2020)."""

    mode: Literal["adaptive", "fixed", "none"] = Field(
        "adaptive", description="adaptive adjusts the probability, fixed keeps it, none disables augmentation"
    )
    probability: Fraction = Field(
        0.0, description="probability of each operation per image; with adaptive, its initial value"
    )
    target: Annotated[float, Field(gt=-1, lt=1)] = Field(
        0.5, description="adaptive: target value of the mean sign of D(real)"
    )
    interval: PositiveInt = Field(4, description="adaptive: steps between adjustments")
    full_range_steps: PositiveInt = Field(
        4000, description="adaptive: minimum number of steps from probability 0 to 1"
    )
    max_probability: Fraction = Field(0.5, description="adaptive: upper limit of the probability")
    reset_each_task: bool = Field(
        True,
        description="adaptive: start every task with gan.ada.probability; false continues from the "
        "previous task's",
    )

    @model_validator(mode="after")
    def _fixed_augments(self) -> AdaSettings:
        if self.mode == "fixed" and self.probability == 0:
            raise ValueError(
                "gan.ada.mode: fixed needs gan.ada.probability above 0, for example 0.2; "
                "for no augmentation set gan.ada.mode: none"
            )
        return self


class GanSettings(Settings):
    """Settings of the GAN's training on the first task and on later tasks."""

    matching_stage: StageOfClassifier = Field(
        4,
        description="stage of the classifier whose features the GAN matches; 0 is the image, 6 the pooled "
        "features",
    )
    matching_mode: Literal["indirect", "direct"] = Field(
        "indirect",
        description="indirect: the generator produces images; direct: it generates features of the matching "
        "stage, which enter the classifier there",
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        64, description="images per step; an even number up to 32, or a multiple of 32"
    )
    horizontal_flip: bool = Field(False, description="mirror half of the real images")
    generator_learning_rate: PositiveFloat = Field(
        0.0025, description="learning rate of the generator's Adam"
    )
    discriminator_learning_rate: PositiveFloat = Field(
        0.0025, description="learning rate of the discriminator's Adam"
    )
    decay_start: Fraction = Field(
        1.0,
        description="fraction of the steps after which both learning rates decrease linearly, to zero at the "
        "end; 1: they stay constant",
    )
    critic_steps: PositiveInt = Field(1, description="discriminator steps per generator step")
    share_generated: bool = Field(
        False,
        description="generate samples once per step, for the discriminator's and the generator's half, "
        "which is faster; the generator's half then has no noise and augmentation of its own",
    )
    guidance_weight: Weight = Field(
        0.0,
        description="weight in the generator's loss of the frozen classifier's cross-entropy on generated "
        "samples, with the requested classes as labels",
    )
    feature_means_weight: Weight = Field(
        0.0,
        description="weight in the generator's loss of the squared distance between the mean pooled features "
        "of generated and of real samples of each class, relative to their variance",
    )
    r1_gamma: Weight = Field(0.5, description="weight of the R1 gradient penalty")
    r1_interval: PositiveInt = Field(16, description="steps between R1 penalties")
    ema_half_life: PositiveFloat = Field(500_000, description="half-life of the generator's EMA, in images")
    ada: AdaSettings = AdaSettings()

    @field_validator("batch_size")
    @classmethod
    def _divides_into_groups(cls, size: int) -> int:
        if size % 2 or (size > 32 and size % 32):
            raise ValueError(
                f"is {size}; the minibatch standard deviation works on groups of 32: set an even "
                "number up to 32, or a multiple of 32"
            )
        return size

    @property
    def generated_stage(self) -> int:
        """Stage of the generated samples; 0 for images."""
        return self.matching_stage if self.matching_mode == "direct" else 0

    @model_validator(mode="after")
    def _images_are_augmented(self) -> GanSettings:
        if self.generated_stage and self.ada.mode != "none":
            raise ValueError(
                f"gan.ada.mode: {self.ada.mode} augments images, but with gan.matching_mode: direct the "
                "generator produces features; set gan.ada.mode: none"
            )
        return self


class PretrainGanSettings(Settings):
    """The GAN's training on the first task."""

    steps: PositiveInt = Field(250_380, description="steps (642 epochs of 390 batches in the paper)")
    ema_rampup_steps: PositiveFloat = Field(
        125_350.5, description="generator steps over which the EMA's half-life grows to its full length"
    )


class TrainGanSettings(Settings):
    """The GAN's training on a later task."""

    steps: PositiveInt = Field(80_028, description="steps per task (1,026 epochs of 78 batches in the paper)")
    ema_rampup_steps: PositiveFloat = Field(
        40_014.0, description="generator steps over which the EMA's half-life grows to its full length"
    )
    distillation_weight: Weight = Field(10.0, description="weight of the distance to the teacher's samples")
    distillation_loss: Literal["L1", "L2"] = Field(
        "L1", description="mean absolute (L1) or mean squared (L2) difference"
    )
    distillation_stage: StageOfClassifier = Field(
        0, description="stage at which samples are compared; 0: the generators' output"
    )
    distillation_grows: bool = Field(
        True, description="multiply distillation_weight by old classes / new classes"
    )
    reinitialize_generator: bool = Field(False, description="start each task with a new generator")
    reinitialize_discriminator: bool = Field(False, description="start each task with a new discriminator")
