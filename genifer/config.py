"""The settings of a run: blocks for data, scenario, evaluation, plots and runtime, and all blocks together.

Settings of networks and trainings are in `genifer.settings`, a method's own in its file. The defaults are the
paper's experiment, and ``config/config.yaml`` spells them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, Field, WithJsonSchema, field_validator, model_validator

from genifer.methods import PAPER
from genifer.methods.method import Method
from genifer.registry import RESERVED, Registry, registry
from genifer.settings import (
    ClassifierSettings,
    DiscriminatorSettings,
    GanSettings,
    GeneratorSettings,
    MethodSettings,
    PositiveFloat,
    PositiveInt,
    PretrainClassifierSettings,
    PretrainGanSettings,
    Settings,
    TrainGanSettings,
)
from genifer.task_sizes import parse_tasks, refusal_of_tasks

Tracker = Literal["tensorboard", "dvclive", "mlflow"]
TRACKERS: tuple[Tracker, ...] = ("tensorboard", "dvclive", "mlflow")
PALETTES = ("colorblind", "deep", "muted", "bright", "pastel", "dark")
DEFAULT = "default"
SHARED = "shared"
"""Group of the trainings that methods share: see `genifer.layout`."""
SEED: Final = "seed"
"""Value of ``scenario.class_order`` that draws the class order from the run's seed."""
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


TaskSizes = Annotated[
    list[PositiveInt],
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "integer", "exclusiveMinimum": 0}, "minItems": 1},
                {"type": "string"},
            ]
        }
    ),
]


class DataSettings(Settings):
    """The data set, and how it is prepared."""

    dataset: str = Field("cifar100", description="name of a data set")
    archive: Path | None = Field(
        None,
        description="file or folder with the images, for data sets that need one; for data sets that are "
        "downloaded, a copy of the archive",
    )
    archive_md5: str | None = Field(
        DEFAULT,
        description="MD5 of the archive; default: the data set's; null accepts any archive of the format",
    )
    max_unpacked_gb: PositiveFloat = Field(
        50.0, description="largest unpacked size of an archive, in GB; each file counts as at least 4 KiB"
    )
    max_bad_images: Annotated[int, Field(ge=0)] = Field(
        0, description="number of undecodable image files to skip; one more is an error"
    )
    image_size: Literal[8, 16, 32, 64, 128, 256] = Field(
        32, description="side of the square images, in pixels"
    )
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for RGB")
    mean: list[float] | Literal["default"] | None = Field(
        "default",
        description="mean per channel (0..1) for normalisation; default: the data set's; null: first task's",
    )
    std: list[PositiveFloat] | Literal["default"] | None = Field(
        "default", description="standard deviation per channel, as mean"
    )
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each class's training images kept apart to choose settings on"
    )
    train_images_per_class: PositiveInt | None = Field(
        None, description="use only this many training images per class; null uses all"
    )

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if isinstance(values, list) and len(values) != self.channels:
                raise ValueError(
                    f"data.{name} has {len(values)} values for data.channels: {self.channels}; "
                    f"give {self.channels} or null"
                )
        if (self.mean is None) != (self.std is None):
            raise ValueError("data.mean and data.std: give both, or null for both")
        return self


class ScenarioSettings(Settings):
    """Which classes are learned when."""

    tasks: TaskSizes = Field(
        [50, 10, 10, 10, 10, 10],
        description="number of new classes in each task: a list, or a text such as '50 + 5 x 10', a first "
        "task of 50 classes and then five of 10",
    )
    class_order: Annotated[int, Field(ge=0, lt=2**32)] | Literal["sorted", "seed"] | list[int | str] = Field(
        1993,
        description="seed of numpy's RandomState whose permutation is the order; or 'seed', which takes each "
        "seed of the run for it; or 'sorted'; or a list of class indices or class names",
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _from_text(cls, tasks: Any) -> Any:
        return parse_tasks(tasks) if isinstance(tasks, str) else tasks

    @property
    def order_is_drawn(self) -> bool:
        """Whether every seed of the run has a class order of its own."""
        return self.class_order == SEED

    def of_seed(self, seed: int) -> ScenarioSettings:
        """The scenario of one seed, whose class order does not depend on the run's seed any more."""
        return self.model_copy(update={"class_order": seed}) if self.order_is_drawn else self

    @field_validator("class_order")
    @classmethod
    def _no_class_twice(cls, order: Any) -> Any:
        if isinstance(order, list) and len(set(order)) != len(order):
            twice = sorted({str(c) for c in order if order.count(c) > 1})
            raise ValueError(f"lists a class twice: {', '.join(twice)}")
        return order


class StartSettings(Settings):
    """Checkpoints from elsewhere that replace the first trainings."""

    task: Annotated[int, Field(ge=0)] = Field(
        0, description="last task that the checkpoints have learned; the run continues with the next"
    )
    classifier: Path | None = Field(None, description="classifier.safetensors; null trains one on task 0")
    gan: Path | None = Field(None, description="gan.safetensors; null trains one on task 0")

    @model_validator(mode="after")
    def _classifier_comes_first(self) -> Self:
        if self.classifier is None and (self.gan is not None or self.task > 0):
            given = "start.gan" if self.gan is not None else f"start.task: {self.task}"
            raise ValueError(f"start.classifier is missing: {given} needs the classifier of that task too")
        return self


class EvaluationSettings(Settings):
    """What accuracies are measured on."""

    split: Literal["test", "validation"] = Field(
        "test", description="validation to choose settings, test to report results"
    )
    batch_size: PositiveInt = Field(500, description="images per batch; does not change results")


class PlotSettings(Settings):
    """How plots look. Changing this block redraws plots; it retrains nothing."""

    medium: Literal["screen", "paper"] = Field(
        "screen", description="paper: 8-point text, and the width of a paper's column or page"
    )
    style: Literal["whitegrid", "darkgrid", "white", "ticks"] = Field(
        "whitegrid", description="seaborn style: whitegrid, darkgrid, white or ticks"
    )
    context: Literal["paper", "notebook", "talk", "poster"] = Field(
        "notebook",
        description="seaborn context, the size of text on a screen: paper, notebook, talk or poster",
    )
    palette: str = Field("colorblind", description=f"seaborn palette: {', '.join(PALETTES)}")
    dpi: Annotated[int, Field(ge=50, le=600)] = Field(150, description="resolution of the PNG files")
    replay_images_per_class: Annotated[int, Field(ge=1, le=32)] = Field(
        4, description="rows of the sample grids, for real images and for each generator"
    )
    published: Path | None = Field(
        None,
        description="CSV file of published accuracies to draw beside the run's, such as docs/published.csv; "
        "null draws none",
    )

    @field_validator("palette")
    @classmethod
    def _known_palette(cls, name: str) -> str:
        if name not in PALETTES:
            raise ValueError(f"is '{name}'; allowed: {', '.join(PALETTES)}")
        return name


class RuntimeSettings(Settings):
    """Where and how to compute."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto uses a GPU, and a CPU only for runs of a few hours"
    )
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field(
        "auto",
        description="precision of convolutions and matrix products; weights, losses and norms stay fp32; "
        "auto uses tf32 on a GPU; on a CPU bf16 where a short timing shows it to be faster, else fp32",
    )
    compile: Literal["auto", "off", "on"] = Field(
        "auto",
        description="compile the losses of a step (torch.compile); auto does so on a GPU, for trainings of "
        "10,000 steps and more that need not be deterministic",
    )
    threads: PositiveInt = Field(
        4,
        description="CPU threads per training; with device: cpu, as many trainings run in parallel as there "
        "are cores for",
    )
    jobs_per_gpu: PositiveInt = Field(
        1, description="trainings that may compute on one GPU at the same time; others wait for a GPU"
    )
    deterministic: bool = Field(
        False,
        description="the same bits every time, on the same machine with the same number of threads and "
        "processes",
    )
    gpus_per_job: PositiveInt = Field(
        1,
        description="GPUs per training, each with a process that computes an equal part of every batch; with "
        "device: cpu, processes. Results are the same up to rounding",
    )
    data_on_device: Literal["auto"] | bool = Field(
        "auto",
        description="keep a training's images in the device's memory (on a CPU: read them into memory before "
        "the first step); false: prepared files are mapped and batches streamed; auto: on a GPU where they "
        "take at most a quarter of its free memory",
    )
    resume_every: Annotated[float, Field(ge=0)] = Field(
        5.0, description="minutes between resume files of a training; 0: one after every step"
    )
    collapse_limit: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01,
        description="a GAN's training stops when its samples or logits vary less than this, or when the "
        "discriminator's loss is lower (1 is healthy; 0 never stops)",
    )
    trackers: list[Tracker] = Field(
        ["tensorboard"],
        description="experiment trackers that receive metrics, sample grids and settings: tensorboard, "
        "dvclive, mlflow",
    )
    max_cpu_hours: PositiveFloat = Field(
        12.0, description="device: auto refuses a CPU for runs that would take longer than this (hours)"
    )

    @field_validator("compile", mode="before")
    @classmethod
    def _on_and_off(cls, value: Any) -> Any:
        """YAML reads on and off as true and false."""
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _several_do_not_compile(self) -> Self:
        if self.compile == "on" and self.gpus_per_job > 1:
            raise ValueError(
                "runtime.compile: on is for trainings on one GPU, but runtime.gpus_per_job is "
                f"{self.gpus_per_job}; set runtime.compile: auto or off"
            )
        return self

    @field_validator("trackers")
    @classmethod
    def _each_once(cls, trackers: list[str]) -> list[str]:
        if len(set(trackers)) != len(trackers):
            raise ValueError(f"is {trackers}; name each tracker once")
        return trackers


@dataclass(frozen=True)
class Variant:
    """A method with settings of its own, under a label.

    Attributes:
        settings: of the run, with the variant's own blocks.
        own: its own blocks as the run file states them.
    """

    label: str
    method: type[Method]
    settings: RunSettings
    own: Mapping[str, Any]

    @property
    def block(self) -> MethodSettings:
        """The method's block of settings."""
        return self.settings.of_method(self.method)


class RunSettings(Settings):
    """All settings of a run. `genifer.settings_model` adds a block for each method."""

    run: str = Field(
        "paper",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="name of the run; its results go to results/<run>/",
    )
    plugins: list[Path] = Field(
        [], description="Python files with methods and data sets of your own, seen from the working folder"
    )
    methods: dict[str, dict[str, Any]] | Annotated[list[str], Field(min_length=1)] = Field(
        list(PAPER), description="list of methods, or a mapping from labels to variants"
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = Field(
        [0], description="every method runs once per seed"
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
    evaluation: EvaluationSettings = EvaluationSettings()
    plots: PlotSettings = PlotSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    @property
    def registry(self) -> Registry:
        """The methods and data sets that the run can name."""
        return registry_of(self.plugins)

    def of_seed(self, seed: int) -> Self:
        """The settings that hold for one seed: with the class order that is drawn from it, if it is."""
        return self.model_copy(update={"scenario": self.scenario.of_seed(seed)})

    def of_method(self, method: type[Method]) -> MethodSettings:
        """A method's block."""
        block = getattr(self, method.name)
        assert isinstance(block, MethodSettings)
        return block

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The run's methods in order, each with its label and the settings that hold for it."""
        return tuple(map(self.variant, self.stated_variants()))

    def stated_variants(self) -> dict[str, dict[str, Any]]:
        """For each label what ``methods`` says of it."""
        return self.methods if isinstance(self.methods, dict) else {name: {} for name in self.methods}

    def variant(self, label: str) -> Variant:
        """The variant of a label."""
        own = self.stated_variants()[label]
        blocks = {name: value for name, value in own.items() if name != "method"}
        method = self.registry.method(str(own.get("method", label)))
        settings, changes = self, merged(method.blocks, blocks)
        if changes:
            changed = merged({name: getattr(self, name).model_dump() for name in changes}, changes)
            settings = self.model_copy(
                update={name: type(getattr(self, name)).model_validate(changed[name]) for name in changes}
            )
        return Variant(label, method, settings, blocks)

    @field_validator("methods", mode="before")
    @classmethod
    def _well_formed(cls, methods: Any) -> Any:
        if isinstance(methods, list) and all(isinstance(name, str) for name in methods):
            return methods
        if not isinstance(methods, Mapping):
            raise ValueError(
                f"is {methods!r}; give a list of methods, or a mapping from labels to variants of them"
            )
        variants = {}
        for label, own in methods.items():
            if not isinstance(label, str) or not LABEL.fullmatch(label):
                raise ValueError(
                    f"has the label {label!r}, which names folders and files; allowed are letters, digits, "
                    "'_', "
                    "'-' and '.', beginning with a letter or digit"
                )
            if own is not None and not isinstance(own, Mapping):
                raise ValueError(
                    f"{label}: {own!r} is not a variant; write blocks of settings, such as {{{label}: "
                    "{method: genifer, gan: {matching_stage: 0}}}, or {} for the method of that name"
                )
            variants[label] = dict(own or {})
        if not variants:
            raise ValueError("is empty; name at least one method")
        return variants

    @field_validator("methods", "seeds")
    @classmethod
    def _each_once(cls, values: Any) -> Any:
        if isinstance(values, list) and len(set(values)) != len(values):
            raise ValueError(f"lists a value twice: {values}")
        return values

    @field_validator("run")
    @classmethod
    def _not_reserved(cls, run: str) -> str:
        if run in ("downloads", "grids"):
            raise ValueError(f"is '{run}', a folder of files that are of no run; choose another name")
        return run

    @model_validator(mode="after")
    def _blocks_agree(self) -> Self:
        self._classes_add_up()
        if self.start.task >= len(self.scenario.tasks):
            raise ValueError(
                f"start.task: {self.start.task} is none of the tasks 0 to {len(self.scenario.tasks) - 1} "
                "of scenario.tasks"
            )
        if self.evaluation.split == "validation" and self.data.validation_fraction == 0:
            raise ValueError(
                "evaluation.split: validation needs images kept apart for it; "
                "set data.validation_fraction, for example to 0.1"
            )
        if self.start.classifier is not None and self.scenario.order_is_drawn and len(self.seeds) > 1:
            raise ValueError(
                "scenario.class_order: seed draws an order for each seed, but start.classifier has learned "
                "one; set scenario.class_order to that one, or start.classifier: null"
            )
        self._labels_differ()
        return self

    def _classes_add_up(self) -> None:
        order = self.scenario.class_order
        total = sum(self.scenario.tasks)
        dataset = self.registry.datasets.get(self.data.dataset)
        available = len(order) if isinstance(order, list) else dataset.classes if dataset else None
        if available is not None and total != available:
            source = "scenario.class_order lists" if isinstance(order, list) else f"{self.data.dataset} has"
            raise ValueError(refusal_of_tasks(self.scenario.tasks, f"{source} {available}", available))

    def _labels_differ(self) -> None:
        """Labels name files, on file systems that may not tell upper from lower case."""
        lower: dict[str, str] = {}
        for label in self.methods:
            if label in (SHARED, "first_task") or label.removeprefix("gan_") in set(self.methods) - {label}:
                raise ValueError(f"methods: the label '{label}' names files of other trainings; rename it")
            if label.lower() in lower:
                raise ValueError(
                    f"methods: the labels '{lower[label.lower()]}' and '{label}' differ only by case; "
                    "files are named after them, so rename one"
                )
            lower[label.lower()] = label


def registry_of(plugins: list[Path] | tuple[Path, ...]) -> Registry:
    """The registry with these plugins; no method may take the name of a block of settings."""
    return registry(tuple(map(Path, plugins)), RESERVED | frozenset(RunSettings.model_fields))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes over a base, block by block, so that a block may state only what differs."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping) and key != "methods":
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def plain(block: BaseModel) -> dict[str, Any]:
    """A block as JSON has it."""
    return block.model_dump(mode="json")
