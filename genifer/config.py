"""The settings of a run: every key once, with its default, unit and meaning.

The defaults are the paper's experiment (CIFAR-100, 50 + 5 x 10 classes), and
``config/config.yaml`` spells them out. A run file states only what differs.
Each stage sees the slice of the settings named in `STAGE_SETTINGS` and nothing
else, so a changed setting can only change the stages that list it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from genifer.errors import GeniferError
from genifer.recipes import RECIPES

Method = Literal["genifer", "finetune", "joint"]
Tracker = Literal["tensorboard", "dvclive", "mlflow"]
TRACKERS: tuple[Tracker, ...] = ("tensorboard", "dvclive", "mlflow")
METHODS: tuple[Method, ...] = ("genifer", "finetune", "joint")

CIFAR100_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
CLASSES_IN: dict[str, int] = {"cifar100": 100, "digits": 10}

PIXELS_A_POSITION = (1, 1, 1, 2, 4, 8)
"""Pixels of the image, in each direction, that a position of the features of stages 0 to 5 stands for."""
POOLED = 6

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
StageOfClassifier = Annotated[int, Field(ge=0, le=POOLED)]


class Settings(BaseModel):
    """Base of all blocks: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(Settings):
    """The data set, and how it is prepared."""

    dataset: Literal["cifar100", "digits", "image_folder"] = Field(
        "cifar100",
        description="cifar100 (downloaded), digits (scikit-learn's, bundled) or image_folder",
    )
    archive: Path | None = Field(
        None,
        description="cifar100: an archive already at hand; image_folder: a folder or .tar.gz that "
        "holds train/<class>/* and test/<class>/*",
    )
    archive_md5: str | None = Field(
        CIFAR100_MD5,
        description="cifar100: MD5 that the archive must have; null takes any archive of the same format",
    )
    max_unpacked_gb: PositiveFloat = Field(
        50.0, description="archives that unpack to more are refused (GB, each file counted as 4 KiB or more)"
    )
    max_bad_images: Annotated[int, Field(ge=0)] = Field(
        0, description="image_folder: so many images that do not decode are left out; more are an error"
    )
    image_size: Literal[8, 16, 32, 64, 128] = Field(32, description="side of the square images, in pixels")
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for RGB")
    mean: list[float] | None = Field(
        [0.507, 0.487, 0.441],
        description="mean of each channel (of 0..1) for normalisation; null takes the first task's",
    )
    std: list[PositiveFloat] | None = Field(
        [0.267, 0.256, 0.276],
        description="standard deviation of each channel; null takes the first task's",
    )
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each class's training images kept apart to choose settings on"
    )
    train_images_per_class: PositiveInt | None = Field(
        None, description="train on the first so many images of each class; null takes all"
    )

    @model_validator(mode="after")
    def _channels_agree(self) -> DataSettings:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ValueError(
                    f"data.{name} has {len(values)} values for data.channels: {self.channels}; "
                    f"give {self.channels} or null"
                )
        if (self.mean is None) != (self.std is None):
            raise ValueError("data.mean and data.std: give both, or null for both")
        if self.dataset == "image_folder" and self.archive is None:
            raise ValueError(
                "data.archive is missing: data.dataset: image_folder needs the path of a folder "
                "or .tar.gz with train/<class>/* and test/<class>/*"
            )
        if self.dataset == "digits" and self.archive is not None:
            raise ValueError("data.archive: the digits come with scikit-learn; leave it null")
        return self


class ScenarioSettings(Settings):
    """Which classes are learned when."""

    tasks: Annotated[list[PositiveInt], Field(min_length=1)] = Field(
        [50, 10, 10, 10, 10, 10], description="number of new classes in each task"
    )
    class_order: Annotated[int, Field(ge=0, lt=2**32)] | Literal["sorted"] | list[int | str] = Field(
        1993,
        description="seed of numpy's RandomState whose permutation is the order; or 'sorted'; "
        "or a list of class indices or class names",
    )

    @field_validator("class_order")
    @classmethod
    def _no_class_twice(cls, order: Any) -> Any:
        if isinstance(order, list) and len(set(order)) != len(order):
            twice = sorted({str(c) for c in order if order.count(c) > 1})
            raise ValueError(f"lists a class twice: {', '.join(twice)}")
        return order


class ClassifierSettings(Settings):
    """The network that learns the tasks."""

    architecture: Literal["resnet18", "resnet34", "resnet50"] = Field(
        "resnet18", description="resnet18, resnet34 or resnet50, with a 3 x 3 stem"
    )
    width: PositiveInt = Field(
        64, description="channels after the stem; the groups have 1, 2, 4 and 8 times as many"
    )
    readout_bias: bool = Field(True, description="the linear readout has a bias")
    pretrained: Path | None = Field(
        None, description="classifier.safetensors whose stages the first task's training starts from"
    )
    pretrained_stages: Annotated[int, Field(ge=1, le=5)] = Field(
        5, description="how many of its stages: 1 is the stem, 2 to 5 the groups; the rest starts anew"
    )


class GeneratorSettings(Settings):
    """The network that makes images to replay."""

    latent_dim: PositiveInt = Field(512, description="length of the latent vector z")
    embedding_dim: PositiveInt = Field(256, description="length of the class embedding")
    style_dim: PositiveInt = Field(512, description="length of the style vector w")
    channels: list[PositiveInt] | None = Field(
        None,
        description="channels of the learned constant and after each convolution: two a resolution "
        "from 4 up; null takes the paper's 512, 512, 256, 256, 128, 128, 64, 64 as far as needed, "
        "then 32, 32, 16, 16",
    )


class DiscriminatorSettings(Settings):
    """The network that tells real features from generated ones."""

    width: PositiveInt = Field(64, description="the layers have 1 to 8 times as many channels")


class OptimizerSettings(Settings):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adam", "radam"] = Field("sgd", description="sgd, adam or radam")
    learning_rate: PositiveFloat = Field(0.1, description="at the start")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="sgd only, in Nesterov's form")
    weight_decay: Weight = Field(5e-4, description="for radam decoupled from the gradient")
    schedule: Literal["multistep", "plateau", "linear", "exponential", "constant"] = Field(
        "multistep",
        description="of the learning rate: multistep, plateau, linear, exponential, constant",
    )
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="multistep, plateau: factor of each drop; exponential: factor of every epoch"
    )
    milestones: list[Fraction] = Field(
        [0.3, 0.6, 0.8], description="multistep: shares of the steps after which the learning rate drops"
    )
    epochs: PositiveInt = Field(
        100, description="plateau, linear, exponential: equal parts of the steps; the rate changes after each"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        10, description="plateau: epochs without progress that are waited for"
    )
    threshold: Weight = Field(
        0.1, description="plateau: fall of the loss (genifer: of its distillation terms) that is progress"
    )
    minimum: Weight = Field(1e-4, description="plateau: lowest learning rate")


class TrainingSettings(Settings):
    """What every training of a classifier has."""

    steps: PositiveInt = Field(description="optimiser steps")
    batch_size: Annotated[int, Field(ge=2)] = Field(32, description="images a step")
    crop_padding: Annotated[int, Field(ge=0)] = Field(
        4, description="random crop after repeating the border by so many pixels; 0 for none"
    )
    horizontal_flip: bool = Field(True, description="mirror half of the images")
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = Field(
        0,
        description="so many stages of the classifier keep their weights: 1 is the stem; 5 leave the readout",
    )
    optimizer: OptimizerSettings = OptimizerSettings()


RADAM = OptimizerSettings(name="radam", learning_rate=1e-4)


class PretrainClassifierSettings(TrainingSettings):
    """The classifier's training on the first task."""

    steps: PositiveInt = Field(78_100, description="optimiser steps (100 epochs in the paper)")


class FinetuneSettings(TrainingSettings):
    """The lower bound: each task's own images only."""

    steps: PositiveInt = Field(15_600, description="optimiser steps a task")
    optimizer: OptimizerSettings = RADAM


class JointSettings(TrainingSettings):
    """The upper bound: the images of all tasks so far."""

    steps: PositiveInt = Field(78_100, description="optimiser steps a task")
    optimizer: OptimizerSettings = OptimizerSettings()


class GeniferSettings(TrainingSettings):
    """The classifier's training on a later task, from its images and replayed ones."""

    steps: PositiveInt = Field(15_600, description="optimiser steps a task (100 epochs in the paper)")
    optimizer: OptimizerSettings = RADAM
    replay_fraction: Annotated[float, Field(gt=0, lt=1)] | Literal["adaptive"] = Field(
        0.5, description="share of replayed images in a batch; adaptive: old classes / classes so far"
    )
    augment_replay: bool = Field(True, description="crop and mirror replayed images as real ones are")
    cross_entropy_weight: Weight = Field(0.02, description="weight of the cross-entropy")
    output_distillation: Literal["KD", "KD_sep", "KL", "MSE_prev", "L1"] = Field(
        "KD_sep",
        description="KD_sep: softmax cross-entropy to the old outputs on replayed images, the labels' on "
        "real ones; KD: both on all images; KL, MSE_prev, L1: as KD_sep with that distance of the outputs",
    )
    distillation_weight: Weight = Field(0.98, description="weight of the output distillation")
    temperature: PositiveFloat = Field(1.0, description="of the output distillation: KD, KD_sep, KL")
    feature_distillation: Literal["replayed", "new", "new_apart"] = Field(
        "replayed",
        description="images on which the features are held to the old ones: replayed or new; new_apart: new, "
        "with the replayed ones in a pass of their own that leaves the stages up to that one alone",
    )
    feature_distillation_norm: Literal["L1", "L2"] = Field(
        "L2", description="norm of the difference of an image's features"
    )
    feature_distillation_weight: Weight = Field(
        1.0, description="weight of the distance to the old classifier's features"
    )
    feature_distillation_stage: StageOfClassifier = Field(
        4, description="stage of these features; 0 is the image, 6 the pooled features"
    )
    freeze_old_batch_norm: bool = Field(
        False, description="the old classifier normalises with its running statistics, not the batch's"
    )

    def replayed(self, n_old: int, n_new: int) -> int:
        """Replayed images in a batch.

        Raises:
            ValueError: no room is left for replayed or for real images.
        """
        share = n_old / (n_old + n_new) if self.replay_fraction == "adaptive" else self.replay_fraction
        count = int(share * self.batch_size)
        if not 0 < count < self.batch_size:
            raise ValueError(
                f"genifer.replay_fraction: {self.replay_fraction} of genifer.batch_size: {self.batch_size} "
                f"leaves no room for both replayed and real images ({n_old} old and {n_new} new classes)"
            )
        return count


class AdaSettings(Settings):
    """Discriminator augmentation, adaptive or not (Karras et al., 2020)."""

    mode: Literal["adaptive", "fixed", "none"] = Field(
        "adaptive", description="adaptive steers the probability, fixed keeps it, none augments nothing"
    )
    probability: Fraction = Field(
        0.0, description="that an operation acts on an image: fixed value, or where adaptive starts"
    )
    target: Annotated[float, Field(gt=-1, lt=1)] = Field(
        0.5, description="adaptive: mean sign of D(real) that the probability is steered to"
    )
    interval: PositiveInt = Field(4, description="adaptive: steps between adjustments")
    full_range_steps: PositiveInt = Field(
        4000, description="adaptive: steps in which the probability can go from 0 to 1"
    )
    max_probability: Fraction = Field(0.5, description="adaptive: upper end of the probability")
    reset_each_task: bool = Field(
        True, description="adaptive: later tasks start where the first did, not where the one before ended"
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
    """What both trainings of the GAN, on the first and on later tasks, share."""

    matching_stage: StageOfClassifier = Field(
        4, description="stage of the classifier whose features the GAN matches; 0 is the image, 6 pooled"
    )
    matching_mode: Literal["indirect", "direct"] = Field(
        "indirect",
        description="indirect: the generator makes images; direct: it makes features of that stage, which "
        "enter the classifier there",
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        64, description="images a step; an even number up to 32, or a multiple of 32"
    )
    horizontal_flip: bool = Field(False, description="mirror half of the real images")
    generator_learning_rate: PositiveFloat = Field(0.0025, description="of Adam")
    discriminator_learning_rate: PositiveFloat = Field(0.0025, description="of Adam")
    critic_steps: PositiveInt = Field(
        1, description="steps of the discriminator for each one of the generator"
    )
    r1_gamma: Weight = Field(0.5, description="weight of the gradient penalty R1")
    r1_interval: PositiveInt = Field(16, description="steps between penalties")
    ema_half_life: PositiveFloat = Field(
        500_000, description="images after which the averaged generator has forgotten half"
    )
    ada: AdaSettings = AdaSettings()

    @field_validator("batch_size")
    @classmethod
    def _divides_into_groups(cls, size: int) -> int:
        if size % 2 or (size > 32 and size % 32):
            raise ValueError(
                f"is {size}; the minibatch standard deviation works on groups of 32: take an even "
                "number up to 32, or a multiple of 32"
            )
        return size

    @property
    def generated_stage(self) -> int:
        """Stage of what the generator makes: 0 for images."""
        return self.matching_stage if self.matching_mode == "direct" else 0

    @model_validator(mode="after")
    def _images_are_augmented(self) -> GanSettings:
        if self.generated_stage and self.ada.mode != "none":
            raise ValueError(
                f"gan.ada.mode: {self.ada.mode} augments images, but with gan.matching_mode: direct the "
                "generator makes features; set gan.ada.mode: none"
            )
        return self


class PretrainGanSettings(Settings):
    """The GAN's training on the first task."""

    steps: PositiveInt = Field(250_380, description="steps (642 epochs of 390 batches in the paper)")
    ema_rampup_steps: PositiveFloat = Field(
        125_350.5,
        description="generator steps in which the half-life of the average grows to full length",
    )


class TrainGanSettings(Settings):
    """The GAN's training on to a later task's classes."""

    steps: PositiveInt = Field(80_028, description="steps (1,026 epochs of 78 batches in the paper)")
    ema_rampup_steps: PositiveFloat = Field(
        40_014.0, description="generator steps in which the half-life of the average grows to full length"
    )
    distillation_weight: Weight = Field(
        10.0, description="weight of the distance to what the old generator makes"
    )
    distillation_loss: Literal["L1", "L2"] = Field(
        "L1", description="mean absolute (L1) or mean squared (L2) difference"
    )
    distillation_stage: StageOfClassifier = Field(
        0, description="stage at which they are compared; 0: as they come from the generators"
    )
    distillation_grows: bool = Field(True, description="multiply that weight by old classes / new classes")
    reinitialize_generator: bool = Field(False, description="start each task with a new generator")
    reinitialize_discriminator: bool = Field(False, description="start each task with a new discriminator")


class EvaluationSettings(Settings):
    """What accuracies are measured on."""

    split: Literal["test", "validation"] = Field(
        "test", description="validation to choose settings, test to report them"
    )
    batch_size: PositiveInt = Field(500, description="images at once; no influence on the results")


class RuntimeSettings(Settings):
    """Where and how to compute."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes a GPU, and a CPU only for runs of a few hours"
    )
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field(
        "auto",
        description="of convolutions and matrix products; weights, losses and norms stay fp32; auto takes "
        "tf32 on a GPU, bf16 on a CPU with AMX, else fp32",
    )
    compile: Literal["auto", "off", "on"] = Field(
        "auto",
        description="compile the losses of a step (torch.compile); auto does on a GPU, for trainings of "
        "10,000 steps and more that need not be deterministic",
    )
    threads: PositiveInt = Field(
        4,
        description="CPU threads of a training; with device: cpu so many trainings run side by side as the "
        "cores have room for",
    )
    deterministic: bool = Field(
        False, description="the same bits every time, on the same machine with the same number of threads"
    )
    resume_every: Annotated[float, Field(ge=0)] = Field(
        5.0, description="minutes between resume files of a training; 0: one after every step"
    )
    collapse_limit: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01,
        description="a GAN whose images or logits differ less, or whose discriminator's loss is lower, has "
        "collapsed: its training stops (1 is sound; 0 never stops)",
    )
    trackers: list[Tracker] = Field(
        ["tensorboard"],
        description="that are told scalars, palettes and settings of trainings: tensorboard, dvclive, mlflow",
    )
    max_cpu_hours: PositiveFloat = Field(
        12.0, description="device: auto refuses a CPU for runs that would take longer"
    )

    @field_validator("trackers")
    @classmethod
    def _each_once(cls, trackers: list[str]) -> list[str]:
        if len(set(trackers)) != len(trackers):
            raise ValueError(f"is {trackers}; name each tracker once")
        return trackers


class PlotSettings(Settings):
    """How plots look; changing them redraws, it trains nothing."""

    style: Literal["whitegrid", "darkgrid", "white", "ticks"] = Field(
        "whitegrid", description="seaborn style: whitegrid, darkgrid, white or ticks"
    )
    context: Literal["paper", "notebook", "talk", "poster"] = Field(
        "notebook", description="seaborn context, the size of text: paper, notebook, talk or poster"
    )
    palette: str = Field("colorblind", description="seaborn palette, one colour a method")
    dpi: Annotated[int, Field(ge=50, le=600)] = Field(150, description="of the PNG files")
    replay_images_per_class: Annotated[int, Field(ge=1, le=32)] = Field(
        4, description="rows of the replay palettes: of real images, and of each generator's"
    )
    published: Path | None = Field(
        None,
        description="CSV file of published accuracies to draw beside the run's: source, method, "
        "classes_seen, accuracy (0 to 1)",
    )

    @field_validator("palette")
    @classmethod
    def _known_palette(cls, name: str) -> str:
        known = ("colorblind", "deep", "muted", "bright", "pastel", "dark")
        if name not in known:
            raise ValueError(f"is '{name}'; allowed: {', '.join(known)}")
        return name


class StartSettings(Settings):
    """Checkpoints from elsewhere that take the place of the first trainings."""

    task: Annotated[int, Field(ge=0)] = Field(
        0, description="the last task that they know; the run goes on with the next"
    )
    classifier: Path | None = Field(None, description="classifier.safetensors; null trains one on task 0")
    gan: Path | None = Field(None, description="gan.safetensors; null trains one on task 0")

    @model_validator(mode="after")
    def _classifier_comes_first(self) -> StartSettings:
        if self.classifier is None and (self.gan is not None or self.task > 0):
            given = "start.gan" if self.gan is not None else f"start.task: {self.task}"
            raise ValueError(f"start.classifier is missing: {given} needs the classifier of that task too")
        return self


class RunSettings(Settings):
    """All settings of a run."""

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(
        "paper", description="name of the run; its results lie in results/<run>/"
    )
    methods: Annotated[list[Method], Field(min_length=1)] = Field(
        list(METHODS),
        description="genifer; finetune (lower bound: new images only); joint (upper bound: all images)",
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = Field(
        [0], description="every method runs once for each seed"
    )
    data: DataSettings = DataSettings()
    scenario: ScenarioSettings = ScenarioSettings()
    start: StartSettings = StartSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    generator: GeneratorSettings = GeneratorSettings()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    pretrain_classifier: PretrainClassifierSettings = PretrainClassifierSettings()
    gan: GanSettings = GanSettings()
    pretrain_gan: PretrainGanSettings = PretrainGanSettings()
    train_gan: TrainGanSettings = TrainGanSettings()
    genifer: GeniferSettings = GeniferSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    joint: JointSettings = JointSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    plots: PlotSettings = PlotSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    @field_validator("methods", "seeds")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError(f"lists a value twice: {values}")
        return values

    @field_validator("run")
    @classmethod
    def _not_reserved(cls, run: str) -> str:
        if run == "downloads":
            raise ValueError("is 'downloads', the folder of downloaded archives; take another name")
        return run

    @model_validator(mode="after")
    def _blocks_agree(self) -> RunSettings:
        order = self.scenario.class_order
        total = sum(self.scenario.tasks)
        available = len(order) if isinstance(order, list) else CLASSES_IN.get(self.data.dataset)
        if available is not None and total != available:
            source = "scenario.class_order lists" if isinstance(order, list) else f"{self.data.dataset} has"
            raise ValueError(
                f"scenario.tasks: {self.scenario.tasks} add up to {total} classes, but {source} "
                f"{available}; change scenario.tasks so that they add up to {available}"
            )
        if self.generator.channels is not None:
            side = generated_side(self.data.image_size, self.gan.generated_stage)
            needed = 2 * (side.bit_length() - 3) + 2
            if len(self.generator.channels) != needed:
                stage = self.gan.generated_stage
                what = f"features of stage {stage}" if stage else "images"
                raise ValueError(
                    f"generator.channels has {len(self.generator.channels)} entries; to make {what} with "
                    f"data.image_size: {self.data.image_size} it needs {needed}"
                )
        if self.start.task >= len(self.scenario.tasks):
            raise ValueError(
                f"start.task: {self.start.task} is none of the tasks 0 to {len(self.scenario.tasks) - 1} "
                "of scenario.tasks"
            )
        if "genifer" in self.methods:
            self._replay_agrees()
        if self.evaluation.split == "validation" and self.data.validation_fraction == 0:
            raise ValueError(
                "evaluation.split: validation needs images kept apart for it; "
                "set data.validation_fraction, for example to 0.1"
            )
        return self

    def _replay_agrees(self) -> None:
        tasks, start = self.scenario.tasks, self.start
        for task in range(1, len(tasks)):
            self.genifer.replayed(sum(tasks[:task]), tasks[task])
        if start.task > 0 and start.gan is None and start.task < len(tasks) - 1:
            raise ValueError(f"start.gan is missing: task {start.task + 1} replays what that GAN makes")
        entry = self.gan.generated_stage
        if not entry:
            return
        genifer, stage = self.genifer, self.genifer.feature_distillation_stage
        held = genifer.feature_distillation_weight > 0 and genifer.feature_distillation == "replayed"
        if held and stage <= entry:
            raise ValueError(
                f"genifer.feature_distillation_stage: {stage} cannot be compared on replayed features that "
                f"enter the classifier at stage {entry} (gan.matching_mode: direct): take a later stage, or "
                "genifer.feature_distillation: new or new_apart, or genifer.feature_distillation_weight: 0"
            )
        if 0 < self.train_gan.distillation_stage < entry:
            raise ValueError(
                f"train_gan.distillation_stage: {self.train_gan.distillation_stage} comes before stage "
                f"{entry}, whose features the generator makes (gan.matching_mode: direct): take 0 or one "
                f"from {entry} on"
            )


def generated_side(image_size: int, stage: int) -> int:
    """Side of the map that a generator computes to make features of a stage (0: images).

    It is 4 at least: features with fewer positions are averages of it.
    """
    return 4 if stage == POOLED else max(image_size // PIXELS_A_POSITION[stage], 4)


STAGE_SETTINGS: dict[str, tuple[str, ...]] = {
    "download_data": ("data.archive_md5",),
    "prepare_data": ("data", "scenario"),
    "use_checkpoint": ("start.task", "gan.matching_stage", "gan.matching_mode"),
    "pretrain_classifier": (
        "classifier",
        "pretrain_classifier",
        "runtime.precision",
        "runtime.deterministic",
    ),
    "pretrain_gan": (
        "generator",
        "discriminator",
        "gan",
        "pretrain_gan",
        "runtime.precision",
        "runtime.deterministic",
    ),
    "train_gan": ("gan", "train_gan", "runtime.precision", "runtime.deterministic"),
    "train_genifer": ("genifer", "runtime.precision", "runtime.deterministic"),
    "train_finetune": ("finetune", "runtime.precision", "runtime.deterministic"),
    "train_joint": ("joint", "runtime.precision", "runtime.deterministic"),
    "evaluate": ("evaluation",),
    "evaluate_replay": ("evaluation",),
    "tabulate": (),
    "tabulate_replay": (),
    "tabulate_training": (),
    "tabulate_costs": (),
    "write_tables": (),
    "plot": ("plots",),
}
"""The settings that each stage depends on, and may read."""


def load_settings(path: Path) -> RunSettings:
    """Read and check a run file.

    Raises:
        GeniferError: the file cannot be read, or a setting is unknown or out of range.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GeniferError(
            f"{path}: cannot be read ({error.strerror}); give the path of a run file, "
            "for example config/quickstart.yaml"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GeniferError(f"{path}: is not valid YAML: {error}") from error
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        raise GeniferError(
            f"{path}: must hold settings as 'key: value' lines, not a {type(content).__name__}"
        )
    return parse_settings(content, source=str(path))


def parse_settings(content: Mapping[str, Any], source: str) -> RunSettings:
    """Check settings that are already a mapping; ``source`` names them in messages."""
    try:
        return RunSettings.model_validate(_merged(RunSettings().model_dump(), content))
    except ValidationError as error:
        raise GeniferError(explain(error, source)) from None


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes laid over the base, block by block, so that a block may state only what differs."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(below, value)
        else:
            result[key] = value
    return result


def explain(error: ValidationError, source: str) -> str:
    """Turn pydantic's report into one line a setting: its name, value and what is allowed."""
    lines = []
    for item in error.errors(include_url=False):
        name = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            block: Any = RunSettings
            for part in item["loc"][:-1]:
                block = block.model_fields[part].annotation
            allowed = ", ".join(sorted(block.model_fields))
            lines.append(f"{source}: {name} does not exist; settings here are: {allowed}")
        elif not name:
            lines.append(f"{source}: {message}")
        elif item["type"] == "value_error":
            prefix = "" if message.startswith(name.split(".")[0] + ".") else f"{name} "
            lines.append(f"{source}: {prefix}{message}")
        else:
            lines.append(f"{source}: {name}: {item['input']!r} is not allowed: {message}")
    return "\n".join(dict.fromkeys(lines))


def stage_settings(settings: RunSettings, stage: str) -> dict[str, Any]:
    """The slice that a stage depends on, as plain data, with its recipe version."""
    everything = settings.model_dump(mode="json")
    slice_: dict[str, Any] = {"recipe": RECIPES[stage]}
    for key in STAGE_SETTINGS[stage]:
        block, _, name = key.partition(".")
        if name:
            slice_.setdefault(block, {})[name] = everything[block][name]
        else:
            slice_[block] = everything[block]
    return slice_


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings, as JSON has them, by their full names, such as gan.r1_gamma, and as text."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = "null" if value is None else str(value)
    return flat


def settings_from_json(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise GeniferError(f"--settings is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise GeniferError("--settings must be a JSON object")
    return content


def settings_from_slice(text: str, stage: str) -> RunSettings:
    """The settings of a stage from the JSON that the workflow passes; the rest are defaults."""
    content = settings_from_json(text)
    recipe = content.pop("recipe", None)
    if recipe != RECIPES[stage]:
        raise GeniferError(
            f"--settings: recipe {recipe} of {stage} is not the installed one ({RECIPES[stage]}); "
            "install this checkout again: pip install -e ."
        )
    try:
        blocks: dict[str, Any] = {name: _block_from_slice(name, values) for name, values in content.items()}
    except (ValidationError, KeyError) as error:
        raise GeniferError(f"--settings of {stage}: {error}") from error
    return RunSettings.model_construct(**blocks)


def _block_from_slice(name: str, values: Mapping[str, Any]) -> Settings:
    """A block, of which a slice may hold but some keys.

    Settings outside the slice must not decide whether it is valid, so the keys are then taken one by one.
    """
    block = RunSettings.model_fields[name].annotation
    assert isinstance(block, type)
    assert issubclass(block, Settings)
    if set(values) == set(block.model_fields):
        return block.model_validate(values)
    taken: dict[str, Any] = {}
    for key, value in values.items():
        field = block.model_fields[key]
        kind: Any = Annotated[field.annotation, field]
        taken[key] = TypeAdapter(kind).validate_python(value)
    return block.model_construct(**taken)
