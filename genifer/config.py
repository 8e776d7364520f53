"""The settings of a run: blocks for data, scenario, evaluation, plots and runtime, and all blocks combined.

Settings of networks and trainings are in `genifer.settings`, those of a method in its file. The defaults are
the paper's experiment; ``config/config.yaml`` lists them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, Field, WithJsonSchema, field_validator, model_validator

from genifer.methods import PAPER
from genifer.methods.method import Method
from genifer.refused_settings import NAMES
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

Tracker = Literal["tensorboard", "dvclive", "mlflow", "wandb"]
TRACKERS: tuple[Tracker, ...] = ("tensorboard", "dvclive", "mlflow", "wandb")
MethodName = Annotated[str, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})]
"""A method in a list of these; instead of its name, a run file may give a variant, ``{label: blocks}``."""
PALETTES = ("colorblind", "deep", "muted", "bright", "pastel", "dark")
DEFAULT = "default"
SHARED = "shared"
"""Group of the trainings that all methods share; see `genifer.layout`."""
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
        50.0,
        description="largest allowed unpacked size of an archive, in GB; each file counts as at least 4 KiB",
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
        description="mean per channel (0..1) for normalisation; default: the data set's; null: computed from "
        "the first task",
    )
    std: list[PositiveFloat] | Literal["default"] | None = Field(
        "default", description="standard deviation per channel; default and null as for mean"
    )
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each class's training images reserved for choosing settings"
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
    """The order in which classes are learned, and their division into tasks."""

    tasks: TaskSizes = Field(
        [50, 10, 10, 10, 10, 10],
        description="number of new classes in each task: a list, or a text such as '50 + 5 x 10' for a first "
        "task of 50 classes and then five of 10",
    )
    class_order: Annotated[int, Field(ge=0, lt=2**32)] | Literal["sorted", "seed"] | list[int | str] = Field(
        1993,
        description="seed of NumPy's RandomState whose permutation is the order; or 'seed', which uses each "
        "seed of the run for it; or 'sorted'; or a list of class indices or class names",
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _from_text(cls, tasks: Any) -> Any:
        return parse_tasks(tasks) if isinstance(tasks, str) else tasks

    @property
    def order_is_drawn(self) -> bool:
        """Whether every seed of the run has its own class order."""
        return self.class_order == SEED

    def of_seed(self, seed: int) -> ScenarioSettings:
        """Return the scenario of one seed, with a class order that no longer refers to the run's seed."""
        return self.model_copy(update={"class_order": seed}) if self.order_is_drawn else self

    @field_validator("class_order")
    @classmethod
    def _no_class_twice(cls, order: Any) -> Any:
        return _each_once(order)


class StartSettings(Settings):
    """Existing checkpoints that replace the first trainings."""

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
    """The images on which accuracies are measured."""

    split: Literal["test", "validation"] = Field(
        "test", description="validation for choosing settings, test for reporting results"
    )
    batch_size: PositiveInt = Field(500, description="images per batch; does not change results")


class PlotSettings(Settings):
    """Style of the plots. Changing this block redraws plots; it retrains nothing."""

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
        description="CSV file with published accuracies to draw next to the run's, such as "
        "docs/published.csv; null draws none",
    )

    @field_validator("palette")
    @classmethod
    def _known_palette(cls, name: str) -> str:
        if name not in PALETTES:
            raise ValueError(f"is '{name}'; allowed: {', '.join(PALETTES)}")
        return name


class RuntimeSettings(Settings):
    """Device, precision and other settings of the computation."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto uses a GPU, and a CPU only for runs of a few hours"
    )
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field(
        "auto",
        description="precision of convolutions and matrix products; weights, losses and norms stay fp32; "
        "auto uses tf32 on a GPU; on a CPU bf16 if a short timing shows it to be faster, else fp32",
    )
    compile: Literal["auto", "off", "on"] = Field(
        "auto",
        description="compile the losses of a step (torch.compile); auto does so on a GPU, for trainings of "
        "at least 10,000 steps without deterministic: true",
    )
    threads: PositiveInt = Field(
        4,
        description="CPU threads per training; with device: cpu, trainings run in parallel as far as there "
        "are cores",
    )
    jobs_per_gpu: PositiveInt = Field(
        1, description="number of trainings that may share a GPU; others wait for one"
    )
    deterministic: bool = Field(
        False,
        description="give bitwise the same results every time, on the same machine with the same numbers of "
        "threads and processes",
    )
    gpus_per_job: PositiveInt = Field(
        1,
        description="GPUs per training, each with a process that computes an equal part of every batch; with "
        "device: cpu, processes per training; results are the same up to rounding",
    )
    data_on_device: Literal["auto"] | bool = Field(
        "auto",
        description="keep a training's images in the device's memory (on a CPU: read them into memory before "
        "the first step); false: map the prepared files and stream batches; auto: true on a GPU if the "
        "images take at most a quarter of its free memory, else false",
    )
    resume_every: Annotated[float, Field(ge=0)] = Field(
        5.0, description="minutes between resume files of a training; 0: one after every step"
    )
    collapse_limit: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.01,
        description="stop a GAN's training if the diversity of its samples, the spread of its logits or the "
        "discriminator's relative loss falls below this (1 is healthy; 0 never stops)",
    )
    trackers: list[Tracker] = Field(
        ["tensorboard"],
        description="experiment trackers that receive metrics, sample grids and settings: tensorboard, "
        "dvclive, mlflow, wandb",
    )
    max_cpu_hours: PositiveFloat = Field(
        12.0, description="maximum estimated hours of a run on a CPU with device: auto"
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
                "runtime.compile: on works only for trainings on one GPU, but runtime.gpus_per_job is "
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
    """A method with its own settings, under a label.

    Attributes:
        settings: the run's settings, changed by the variant's own blocks.
        own: the variant's own blocks, as in the run file.
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
        [], description="Python files with your own methods and data sets, relative to the working folder"
    )
    methods: dict[str, dict[str, Any]] | Annotated[list[MethodName], Field(min_length=1)] = Field(
        list(PAPER), description="list of methods and variants, or a mapping from labels to variants"
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
        """The methods and data sets that the run can use."""
        return registry_of(self.plugins)

    def of_seed(self, seed: int) -> Self:
        """Return the settings for one seed, with its class order if each seed has its own."""
        return self.model_copy(update={"scenario": self.scenario.of_seed(seed)})

    def of_method(self, method: type[Method]) -> MethodSettings:
        """Return a method's block of settings."""
        block = getattr(self, method.name)
        assert isinstance(block, MethodSettings)
        return block

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The run's variants in order, each with its label and settings."""
        return tuple(map(self.variant, self.stated_variants()))

    def stated_variants(self) -> dict[str, dict[str, Any]]:
        """Return the entry of ``methods`` for each label."""
        return self.methods if isinstance(self.methods, dict) else {name: {} for name in self.methods}

    def variant(self, label: str) -> Variant:
        """Return the variant of a label."""
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
        if isinstance(methods, list) and methods and all(isinstance(name, str) for name in methods):
            return methods
        variants = {}
        for label, own in _labelled(methods):
            if not isinstance(label, str) or not LABEL.fullmatch(label):
                raise ValueError(f"has the label {label!r}, which names folders and files; use {NAMES}")
            if own is not None and not isinstance(own, Mapping):
                raise ValueError(
                    f"{label}: {own!r} is not a variant; give blocks of settings, such as {{{label}: "
                    "{method: genifer, gan: {matching_stage: 0}}}, or {} for the method of that name"
                )
            if label in variants:
                raise ValueError(f"lists {label} twice; list it once, or give one of them another label")
            variants[label] = dict(own or {})
        if not variants:
            raise ValueError("is empty; name at least one method")
        return variants

    @field_validator("methods", "seeds")
    @classmethod
    def _no_value_twice(cls, values: Any) -> Any:
        return _each_once(values)

    @field_validator("run")
    @classmethod
    def _not_reserved(cls, run: str) -> str:
        if run in ("downloads", "grids"):
            raise ValueError(f"is '{run}', a folder that belongs to no run; choose another name")
        return run

    @model_validator(mode="after")
    def _blocks_agree(self) -> Self:
        self._classes_add_up()
        if self.start.task >= len(self.scenario.tasks):
            raise ValueError(
                f"start.task: {self.start.task} does not exist; scenario.tasks has the tasks 0 to "
                f"{len(self.scenario.tasks) - 1}"
            )
        if self.evaluation.split == "validation" and self.data.validation_fraction == 0:
            raise ValueError(
                "evaluation.split: validation needs validation images; "
                "set data.validation_fraction, for example to 0.1"
            )
        if self.start.classifier is not None and self.scenario.order_is_drawn and len(self.seeds) > 1:
            raise ValueError(
                "scenario.class_order: seed draws an order for each seed, but start.classifier has learned "
                "the classes in one order; set scenario.class_order to that order, or start.classifier: null"
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
        """Reject labels whose files would collide; some file systems ignore case."""
        lower: dict[str, str] = {}
        for label in self.methods:
            if label in (SHARED, "first_task") or label.removeprefix("gan_") in set(self.methods) - {label}:
                raise ValueError(
                    f"methods: the label '{label}' collides with the files of other trainings; rename it"
                )
            if label.lower() in lower:
                raise ValueError(
                    f"methods: the labels '{lower[label.lower()]}' and '{label}' differ only in case; "
                    "files are named after them, so rename one"
                )
            lower[label.lower()] = label


def _each_once(values: Any) -> Any:
    """Return a setting unchanged, unless it is a list with a value more than once."""
    counts = Counter(values if isinstance(values, list) else [])
    if twice := [value for value, count in counts.items() if count > 1]:
        raise ValueError(f"lists {', '.join(map(str, twice))} twice; list each value once")
    return values


def _labelled(methods: Any) -> list[tuple[Any, Any]]:
    """Return the label and the blocks of each entry of ``methods``, unchecked."""
    if isinstance(methods, Mapping):
        return list(methods.items())
    if not isinstance(methods, list) or not all(isinstance(entry, str | Mapping) for entry in methods):
        raise ValueError(f"is {methods!r}; give a list of methods, or a mapping from labels to variants")
    return [
        pair
        for entry in methods
        for pair in (entry.items() if isinstance(entry, Mapping) else [(entry, None)])
    ]


def registry_of(plugins: list[Path] | tuple[Path, ...]) -> Registry:
    """Return the registry with these plugins; no method may have the name of a block of settings."""
    return registry(tuple(map(Path, plugins)), RESERVED | frozenset(RunSettings.model_fields))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Override a base by changes, block by block, so that a block states only what differs."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping) and key != "methods":
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def plain(block: BaseModel) -> dict[str, Any]:
    """Return a block of settings as plain data, fit for JSON."""
    return block.model_dump(mode="json")
