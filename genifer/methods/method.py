"""The contract of a method: what it may override, in the order in which a training calls it.

Everything around a method is shared: data, loop, resume state, evaluation, tables, plots. This module is
read whenever settings are, so it imports PyTorch inside functions.
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
"""Prefix of the tensors in a checkpoint that a method leaves for the next task."""


class Batch(NamedTuple):
    """What one step trains on.

    Attributes:
        images: (n, channels, size, size), float, normalised and augmented, of the task's classes; or
            features (n, dim) that the method's `losses` expect.
        labels: (n,), int64, positions in the class order.
        replay: (m, ...), samples of old classes from a generator; None for methods without one.
        replay_labels: (m,), int64, the classes that the generator was asked for.
    """

    images: Tensor
    labels: Tensor
    replay: Tensor | None = None
    replay_labels: Tensor | None = None


Preparation = Callable[[int, "Mapping[str, Part]"], Iterable[int]]


class Method:
    """A way to learn a later task. An object of it learns one task.

    By itself this class minimises the cross-entropy of the task's own images; a method overrides what
    differs. The first line of its docstring describes it in help texts and documents.

    Class attributes:
        name: in run files, commands and folders; lower-case letters, digits and underscores.
        version: raised when the method's results change. A plugin's also holds the hash of its file.
        Settings: its block in the run file.
        images: which training images it may open: those of the ``task``, or of all tasks ``so_far``.
        first_task: ``shared``: it starts from the first task's classifier that all methods share;
            ``memory``: the same, but `finish` is called on the first task, too, to leave a memory of it;
            ``own``: it trains the first task itself, from a new classifier.
        uses_gan: it needs a GAN, which is trained after each task but the last.
        uses_teacher: it needs the classifier of the task before, frozen.
        stores_exemplars: its memory may hold images. Every table says so.
        only_for_training: entries of its memory that `logits` does not read.
        splits_batches: the mean of its `losses` of equal parts of a batch is that of the whole batch, so
            several processes can train it together (`runtime.gpus_per_job`). It counts for the class that
            defines `losses`, which has to state it; batch norm may relate samples to each other, and what
            else does has to go through ``parallel.gathered``.
        blocks: settings of other blocks that it changes, as a variant in a run file does, such as
            ``{"gan": {"matching_stage": 0}}``. What the run file says of the variant comes on top.

    Attributes:
        settings: an object of ``Settings``.
        classifier: of all classes so far, the task's own included.
        memory: what `finish` returned after the task before; in `logits` after this task.
        prepared: what `prepare` returned.
        networks: its own, trained with the classifier and then dropped; `setup` fills it.
        step: steps that are done when `draw_batch` and `losses` are called.
        preparation: ``for step in self.preparation(count, parts)`` counts the steps of a long `prepare`,
            which resumes there after an interruption; ``parts`` are the networks and optimizers, by name,
            that the steps change. Use it once, and to its end.
        job: device, precision, compilation; ``job.compiled(function)``.
        data: the task's images and labels; ``n_old`` and ``n_new`` classes.
        rng: the generator of all random numbers that the training draws.
        normalize: uint8 images to the classifier's input space.
        teacher: the frozen classifier of the task before, in evaluation mode (``uses_teacher``).
        generator: the frozen generator of the task before (``uses_gan``).
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
    """Of a plugin's file; set when it is registered."""

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
        """Refuse settings that do not fit the run, before anything starts.

        Args:
            settings: the method's own block.

        Raises:
            ValueError: the message names the setting, its value and what is allowed.
        """

    def setup(self) -> None:
        """Build what the steps need. Called before every start of the training, also when it resumes.

        Networks that it puts into ``networks`` are trained with the classifier: the optimizer gets their
        parameters, the resume state their weights.
        """

    def prepare(self) -> dict[str, Tensor]:
        """Compute what the steps need and what takes long, such as inverted images.

        Called before the first step. The result is part of the resume state, so an interrupted training does
        not compute it again. A loop over ``self.preparation`` resumes where it was interrupted.
        """
        return {}

    def images_per_batch(self) -> int:
        """Real images in a batch."""
        return int(self.settings.batch_size)

    def draw_batch(self) -> Batch:
        """Draw, normalise and augment the images of one step."""
        images, labels = next(self.batches)
        return Batch(self.augment(self.normalize(images)), labels)

    def augment(self, images: Tensor) -> Tensor:
        """Crop and mirror normalised images (n, channels, size, size) as the settings say."""
        from genifer.data.batches import random_crop_and_flip

        return random_crop_and_flip(
            images, self.settings.crop_padding, self.settings.horizontal_flip, self.rng
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the scalars of a step; ``loss`` is minimised, all are logged.

        It runs under autocast, may be compiled as one graph, and must not wait for the device.
        """
        from genifer.nn.losses import cross_entropy_and_accuracy

        return cross_entropy_and_accuracy(self.classifier(batch.images), batch.labels)

    def progress_loss(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the loss that the plateau schedule watches."""
        return losses["loss"]

    def finish(self) -> dict[str, Tensor]:
        """Compute the memory that the next task, and `logits`, get. The classifier is in evaluation mode.

        With ``first_task = "memory"`` it is all that is called on the first task.
        """
        return {}

    def logits(self, images: Tensor) -> Tensor:
        """Classify normalised images (n, channels, size, size): (n, classes so far).

        It may use ``settings``, ``classifier`` and ``memory`` only, which the checkpoint holds.
        """
        return self.classifier(images)

    def ordered_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all of the task's images once, in order: normalised, without augmentation, with labels."""
        import torch

        for images, labels in self.data.in_order(self.settings.batch_size):
            yield self.normalize(images).contiguous(memory_format=torch.channels_last), labels

    @classmethod
    def summary(cls) -> str:
        """The first sentence of the docstring."""
        return (cls.__doc__ or cls.name).strip().splitlines()[0]

    @classmethod
    def old_images(cls) -> str:
        """Which images of old tasks it uses: ``none``, ``all`` or ``exemplars``; tables say it."""
        if cls.images == "so_far":
            return "all"
        return "exemplars" if cls.stores_exemplars else "none"

    @classmethod
    def version_text(cls) -> int | str:
        """The version, with the hash of a plugin's file."""
        return cls.version if cls.source_hash is None else f"{cls.version}+{cls.source_hash}"

    @classmethod
    def has_own_logits(cls) -> bool:
        """Whether it classifies in another way than by the head."""
        return cls.logits is not Method.logits

    @classmethod
    def can_split_batches(cls) -> bool:
        """Whether the class that defines its losses states `splits_batches`."""
        defines = next(base for base in cls.__mro__ if "losses" in vars(base))
        return bool(vars(defines).get("splits_batches", False))
