"""The base class of all methods: what a method may override, in the order in which a training calls it.

All methods share everything else: data, loop, resume state, evaluation, tables, plots. Every command that
reads settings imports this module, so it imports PyTorch inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from genifer.settings import MethodSettings, TrainingSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from genifer.config import RunSettings
    from genifer.data.batches import Normalization, ShuffledBatches, TaskData
    from genifer.nn.classifier import Classifier
    from genifer.nn.generator import Generator
    from genifer.training.job import Job
    from genifer.training.resume import Part


MEMORY = "memory"
"""Prefix in a checkpoint of the tensors that a method keeps for the next task."""


class Batch(NamedTuple):
    """The samples of one step.

    Attributes:
        images: (n, channels, size, size), float: normalised, augmented images of the task's classes; or
            features (n, dim), if the method's `losses` expects those.
        labels: (n,), int64: positions in the class order.
        replay: (m, ...): samples of old classes from a generator; None for methods without one.
        replay_labels: (m,), int64: the classes requested from the generator.
    """

    images: Tensor
    labels: Tensor
    replay: Tensor | None = None
    replay_labels: Tensor | None = None


Preparation = Callable[[int, "Mapping[str, Part]"], Iterable[int]]


class Method:
    """A way to learn a later task; one instance learns one task.

    By default a method minimises the cross-entropy on the task's own images; a subclass overrides what
    differs. The first line of its docstring describes it in help texts and documents.

    Class attributes:
        name: its name in run files, commands and folders: lower-case letters, digits and underscores.
        version: raise it when the method's results change. For a plugin, the hash of its file is added.
        Settings: the class of its block in the run file.
        images: which training images it may open: those of the ``task``, or of all tasks ``so_far``.
        first_task: ``shared``: start from the first task's classifier that all methods share;
            ``memory``: the same, but also call `finish` on the first task, to build a memory of it;
            ``own``: train the first task itself, from a new classifier.
        uses_gan: it needs a GAN, which is trained after every task except the last.
        uses_teacher: it needs the previous task's classifier, frozen.
        stores_exemplars: its memory may hold images. Every table says so.
        only_for_training: entries of its memory that `logits` does not read.
        splits_batches: the mean of its `losses` over equal parts of a batch equals that of the whole batch,
            so several processes can train it together (`runtime.gpus_per_job`). Set it in the class that
            defines `losses`; subclasses with `losses` of their own do not inherit it. Batch norm may relate
            samples to each other; anything else that does must go through ``parallel.gathered``.
        blocks: settings of other blocks that it changes, as a variant in a run file does, such as
            ``{"gan": {"matching_stage": 0}}``. A variant's settings in the run file override them.

    Attributes:
        settings: an instance of ``Settings``.
        classifier: the classifier for all classes so far, including the task's own.
        memory: what `finish` returned after the previous task; in `logits`, after this task.
        prepared: what `prepare` returned.
        networks: networks of its own, trained with the classifier and then dropped; `setup` fills it.
        step: number of steps done when `draw_batch` and `losses` are called.
        preparation: ``for step in self.preparation(count, parts)`` counts the steps of a long `prepare`,
            which resumes there after an interruption; ``parts`` maps names to the networks and optimizers
            that the steps change. Call it once, and run the loop to its end.
        job: device, precision, compilation; ``job.compiled(function)``.
        data: the task's images and labels, and the numbers ``n_old`` and ``n_new`` of classes.
        rng: the generator for all random numbers that the training draws.
        normalize: maps uint8 images to the classifier's input space.
        teacher: the previous task's classifier, frozen, in evaluation mode (``uses_teacher``).
        generator: the previous task's generator, frozen (``uses_gan``).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    Settings: ClassVar[type[MethodSettings]] = TrainingSettings
    images: ClassVar[Literal["task", "so_far"]] = "task"
    first_task: ClassVar[Literal["shared", "memory", "own"]] = "shared"
    uses_gan: ClassVar[bool] = False
    uses_teacher: ClassVar[bool] = False
    stores_exemplars: ClassVar[bool] = False
    only_for_training: ClassVar[tuple[str, ...]] = ()
    splits_batches: ClassVar[bool] = True
    blocks: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    source_hash: ClassVar[str | None] = None
    """Hash of a plugin's file; set on registration."""

    settings: Any
    classifier: Classifier
    memory: dict[str, Tensor]
    prepared: dict[str, Tensor]
    networks: dict[str, nn.Module]
    step: int
    preparation: Preparation
    job: Job
    data: TaskData
    rng: torch.Generator
    normalize: Normalization
    batches: ShuffledBatches
    teacher: Classifier
    generator: Generator

    def __init__(self, settings: MethodSettings, classifier: Classifier, memory: dict[str, Tensor]) -> None:
        self.settings = settings
        self.classifier = classifier
        self.memory = memory
        self.prepared = {}
        self.networks = {}
        self.step = 0
        self.preparation = lambda count, _: range(count)

    @classmethod
    def check(cls, settings: Any, run: RunSettings) -> None:
        """Reject settings that do not fit the run, before anything starts.

        Args:
            settings: the method's own block.

        Raises:
            ValueError: settings do not fit; the message names the setting, its value and what is allowed.
        """

    def setup(self) -> None:
        """Build what the steps need. Called whenever the training starts or resumes.

        Networks added to ``networks`` are trained with the classifier: the optimizer gets their parameters,
        and the resume state holds their weights.
        """

    def prepare(self) -> dict[str, Tensor]:
        """Do slow work that the steps depend on, such as training an inverting generator.

        Called before the first step. The resume state holds the result, so an interrupted training does not
        compute it again. A loop over ``self.preparation`` resumes where it was interrupted.
        """
        return {}

    def images_per_batch(self) -> int:
        """Return the number of real images per batch."""
        return int(self.settings.batch_size)

    def draw_batch(self) -> Batch:
        """Draw, normalise and augment the images of one step."""
        images, labels = next(self.batches)
        return Batch(self.augment(self.normalize(images)), labels)

    def augment(self, images: Tensor) -> Tensor:
        """Randomly crop and mirror normalised images (n, channels, size, size), according to the settings."""
        from genifer.data.batches import random_crop_and_flip

        return random_crop_and_flip(
            images, self.settings.crop_padding, self.settings.horizontal_flip, self.rng
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the scalars of a step; ``loss`` is minimised, all are logged.

        This runs under autocast, may be compiled as one graph, and must not synchronise with the device.
        """
        from genifer.nn.losses import cross_entropy_and_accuracy

        return cross_entropy_and_accuracy(self.classifier(batch.images), batch.labels)

    def progress_loss(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the loss that the plateau schedule monitors."""
        return losses["loss"]

    def finish(self) -> dict[str, Tensor]:
        """Compute the memory for the next task and for `logits`. The classifier is in evaluation mode.

        With ``first_task = "memory"``, nothing else runs on the first task.
        """
        return {}

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (n, classes so far) for normalised images (n, channels, size, size).

        It may use only ``settings``, ``classifier`` and ``memory``: the checkpoint holds nothing else.
        """
        return self.classifier(images)

    def ordered_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image of the task once, in order, with its label: normalised, not augmented."""
        import torch

        for images, labels in self.data.in_order(self.settings.batch_size):
            yield self.normalize(images).contiguous(memory_format=torch.channels_last), labels

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or cls.name).strip().splitlines()[0]

    @classmethod
    def old_images(cls) -> str:
        """Return which images of old tasks it uses, for tables: ``none``, ``all`` or ``exemplars``."""
        if cls.images == "so_far":
            return "all"
        return "exemplars" if cls.stores_exemplars else "none"

    @classmethod
    def version_text(cls) -> int | str:
        """Return the version; for a plugin, with the hash of its file."""
        return cls.version if cls.source_hash is None else f"{cls.version}+{cls.source_hash}"

    @classmethod
    def has_own_logits(cls) -> bool:
        """Return whether it classifies by something other than the head."""
        return cls.logits is not Method.logits

    @classmethod
    def can_split_batches(cls) -> bool:
        """Return whether the class that defines its losses sets `splits_batches`."""
        defines = next(base for base in cls.__mro__ if "losses" in vars(base))
        return bool(vars(defines).get("splits_batches", False))
