"""The jobs of a run: their inputs and outputs, and which of them variants share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genifer.config import SHARED, RunSettings, Variant, plain
from genifer.errors import GeniferError
from genifer.layout.names import CLASSIFIER, GAN, IMAGENET, METRICS, RESULTS, jobs_folder, place, seed_folder
from genifer.methods.method import Method
from genifer.nn.torchvision_weights import URLS, file_name
from genifer.run_file import flat_settings
from genifer.settings import IMAGENET_WEIGHTS
from genifer.versions import GAN_JOBS, TRAIN, job_settings, settings_of_job, steps_of_job

GROUP_LENGTH = 80
"""Longest suffix of a group's name; longer lists of settings are replaced by a hash."""
SAFE = re.compile(r"[A-Za-z0-9_.=+-]+")

Files = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class PlannedJob:
    """A training or evaluation of the run.

    Attributes:
        name: pretrain_classifier, train_<method>, evaluate, ...
        group: see the docstring of `genifer.layout`.
        inputs, outputs: paths by role.
        settings: the settings that apply to it.
        method: the method that is trained or evaluated; None for shared jobs.
        depends: full names of all settings that it and the jobs before it depend on.
        steps: training steps; 0 for evaluations, and if the method only computes its memory.
    """

    name: str
    seed: int
    task: int
    group: str
    folder: str
    inputs: Files
    outputs: Mapping[str, str]
    settings: RunSettings
    method: type[Method] | None = None
    depends: frozenset[str] = frozenset()
    steps: int = 0

    @property
    def checkpoint(self) -> str:
        """The checkpoint that a finished training leaves."""
        return next(iter(self.outputs.values()))

    @property
    def place(self) -> str:
        """Its folder relative to the seed's, the same for every seed."""
        return place(self.group, self.task, self.name)

    @property
    def trains(self) -> bool:
        """Whether it is a training, not an evaluation or an imported checkpoint."""
        return "metrics" in self.outputs

    def checkpoint_options(self, copies: Mapping[str, object] | None = None) -> list[str]:
        """Return the command-line options that name its input checkpoints.

        Args:
            copies: local copies of its inputs, if these are in remote storage.
        """
        files = copies or self.inputs
        options = ("classifier", "gan", "old_classifier", "old_gan", "judge", "pretrained")
        names = [name for name in options if name in self.inputs]
        return [text for name in names for text in (f"--{name.replace('_', '-')}", str(files[name]))]

    def settings_json(self) -> str:
        """The settings that it depends on and its version, as the workflow passes them."""
        job = "use_checkpoint" if "given" in self.inputs else self.name
        return json.dumps(job_settings(self.settings, job, self.method), sort_keys=True)


def weights_path(architecture: str) -> str:
    """Return the path to which torchvision's weights of an architecture are downloaded."""
    return str(IMAGENET / file_name(architecture))


@dataclass
class Chain:
    """The planned jobs of one variant and seed, and the latest checkpoints for the next task."""

    classifiers: dict[int, PlannedJob] = field(default_factory=dict)
    gans: dict[int, PlannedJob] = field(default_factory=dict)


class Jobs:
    """The jobs of a run.

    Args:
        settings: settings of the run.
        results: folder of all runs.
    """

    def __init__(self, settings: RunSettings, results: Path = RESULTS) -> None:
        self.settings = settings
        self.results = f"{results}/{settings.run}"
        self.tasks = range(len(settings.scenario.tasks))
        self.first = settings.start.task
        """The run's first task, whose checkpoints are shared or given; methods learn the later tasks."""
        self.later = self.tasks[self.first + 1 :]
        self.variants = settings.variants
        self.labels = [variant.label for variant in self.variants]
        self._jobs: dict[str, PlannedJob] = {}
        self._chains: dict[tuple[int, str], Chain] = {}
        self._evaluations: dict[tuple[int, str], list[PlannedJob]] = {}
        self._replay_evaluations: dict[tuple[int, str], list[PlannedJob]] = {}
        for seed in settings.seeds:
            for variant in self.variants:
                self._plan(seed, variant)
            judge = self._judge(seed)
            for variant in self.variants:
                chain = self._chains[seed, variant.label]
                self._replay_evaluations[seed, variant.label] = [
                    self._evaluate_replay(seed, variant, chain, gan, judge) for gan in chain.gans.values()
                ]

    def data_folder(self, seed: int | str) -> str:
        """Return the folder of the prepared files: one for all seeds unless each draws its class order."""
        own = f"/seed_{seed}" if self.settings.scenario.order_is_drawn else ""
        return f"{self.results}/data{own}"

    def data(self, split: str, tasks: Sequence[int], seed: int | str) -> list[str]:
        """Return the prepared files of a split, one per task."""
        return [f"{self.data_folder(seed)}/task_{task}_{split}.safetensors" for task in tasks]

    def job(self, name: str, seed: str | int, group: str, task: str | int) -> PlannedJob:
        """Return the job with these names.

        Raises:
            KeyError: the run has no such job.
        """
        return self._jobs[f"{seed_folder(self.results, seed)}/{place(group, int(task), name)}"]

    def check_targets(self, targets: Iterable[str]) -> None:
        """Check that the run has the jobs whose files are asked for; other files are not checked.

        Raises:
            GeniferError: a path names a seed, group, task or job that the run does not have.
        """
        for target in targets:
            folder = jobs_folder(self.results)
            while target.startswith(f"{folder}/") and folder not in self._jobs:
                name = _next_part(target, folder)
                there = dict.fromkeys(
                    _next_part(job, folder) for job in self._jobs if job.startswith(f"{folder}/")
                )
                if name not in there:
                    raise GeniferError(
                        f"{target}: the run {self.settings.run} has no {name} in {folder}; there are: "
                        f"{', '.join(there)}. Change its settings, or give another run file with --configfile"
                    )
                folder = f"{folder}/{name}"

    @property
    def trainings(self) -> list[PlannedJob]:
        """All trainings, each listed once and after those that it needs."""
        return [job for job in self._jobs.values() if job.trains]

    @property
    def methods(self) -> list[str]:
        """Names of the methods that this run trains."""
        return list(dict.fromkeys(job.method.name for job in self.trainings if job.method is not None))

    @property
    def evaluations(self) -> list[PlannedJob]:
        return [job for job in self._jobs.values() if job.name == "evaluate"]

    @property
    def replay_evaluations(self) -> list[PlannedJob]:
        return [job for job in self._jobs.values() if job.name == "evaluate_replay"]

    @property
    def downloaded_weights(self) -> dict[str, str]:
        """Path of the downloaded weights for each architecture that starts from ImageNet's."""
        needed = {path for job in self.trainings for path in _flat(job.inputs)}
        return {name: path for name in URLS if (path := weights_path(name)) in needed}

    def group_pattern(self, job: str) -> str:
        """Return a regular expression that matches the groups of all jobs with this name."""
        groups = sorted({planned.group for planned in self._jobs.values() if planned.name == job})
        return "|".join(map(re.escape, groups)) or "(?!)"

    def priority(self, job: str) -> int:
        """Return a job's priority: the GANs' chain is the longest and decides the run's duration."""
        planned = [other for other in self.trainings if other.name == job]
        return int(any(other.method is None or other.method.uses_gan for other in planned))

    def trained_before(self, job: PlannedJob) -> list[PlannedJob]:
        """Return the trainings whose files a job needs."""
        needed = set(_flat(job.inputs))
        return [other for other in self.trainings if needed & set(other.outputs.values())]

    def _plan(self, seed: int, variant: Variant) -> None:
        chain = self._chains[seed, variant.label] = Chain()
        method = variant.method
        self._plan_first_task(seed, variant, chain)
        for task in self.later:
            inputs: dict[str, str | list[str]] = {
                "data": self.data("train", range(task + 1) if method.images == "so_far" else [task], seed),
                "old_classifier": chain.classifiers[task - 1].checkpoint,
            }
            before = [chain.classifiers[task - 1]]
            if method.uses_gan:
                inputs["old_gan"] = chain.gans[task - 1].checkpoint
                before.append(chain.gans[task - 1])
            name = f"{TRAIN}{method.name}"
            chain.classifiers[task] = self._training(name, seed, task, variant, inputs, before)
            if method.uses_gan and task < self.tasks[-1]:
                inputs = {
                    "data": self.data("train", [task], seed),
                    "classifier": chain.classifiers[task].checkpoint,
                    "old_gan": chain.gans[task - 1].checkpoint,
                }
                before = [chain.classifiers[task], chain.gans[task - 1]]
                chain.gans[task] = self._training("train_gan", seed, task, variant, inputs, before)
        self._evaluations[seed, variant.label] = [
            self._evaluate(seed, variant, job) for job in chain.classifiers.values()
        ]

    def _plan_first_task(self, seed: int, variant: Variant, chain: Chain) -> None:
        first, method = self.first, variant.method
        data: dict[str, str | list[str]] = {"data": self.data("train", [first], seed)}
        name = f"{TRAIN}{method.name}"
        new = data | self._pretrained(variant)
        if method.first_task == "own":
            chain.classifiers[first] = self._training(name, seed, first, variant, new, [])
        else:
            given = self.settings.start.classifier
            shared = self._training("pretrain_classifier", seed, first, variant, new, [], given)
            chain.classifiers[first] = shared
            if method.first_task == "memory":
                inputs = data | {"old_classifier": shared.checkpoint}
                chain.classifiers[first] = self._training(name, seed, first, variant, inputs, [shared])
        if method.uses_gan and self.later:
            classifier = chain.classifiers[first]
            given = self.settings.start.gan
            inputs = data | {"classifier": classifier.checkpoint}
            chain.gans[first] = self._training(
                "pretrain_gan", seed, first, variant, inputs, [classifier], given
            )

    def _pretrained(self, variant: Variant) -> dict[str, str]:
        """The weights file that a new classifier starts from, if any."""
        network = variant.settings.classifier
        path = network.pretrained
        if path == IMAGENET_WEIGHTS:
            return {"pretrained": weights_path(network.architecture)}
        return {"pretrained": str(path)} if path is not None and path.is_file() else {}

    def _training(
        self,
        name: str,
        seed: int,
        task: int,
        variant: Variant,
        inputs: Files,
        before: Sequence[PlannedJob],
        given: Path | None = None,
    ) -> PlannedJob:
        """Plan a training, or return the equal one of another variant.

        Args:
            given: a checkpoint to use instead of training.
        """
        method = variant.method
        makes_gan = name in GAN_JOBS
        if given is not None:
            depends = frozenset(
                settings_of_job("use_checkpoint", self.settings.registry) if makes_gan else ()
            )
        else:
            own = settings_of_job(name, self.settings.registry)
            depends = frozenset(own).union(*(job.depends for job in before))
        own_classifier = any(job.method is not None for job in before)
        is_shared = name == "pretrain_classifier" or (name == "pretrain_gan" and not own_classifier)
        base = SHARED if is_shared else method.name
        group = base + own_settings(self.settings, variant.settings, depends)
        folder = f"{seed_folder(self.results, seed)}/{place(group, task, name)}"
        if folder not in self._jobs:
            outputs = {"checkpoint": f"{folder}/{GAN if makes_gan else CLASSIFIER}"}
            if given is None:
                outputs["metrics"] = f"{folder}/{METRICS}"
            only_memory = (
                method.first_task == "memory" and task == self.first and name == f"{TRAIN}{method.name}"
            )
            self._jobs[folder] = PlannedJob(
                name=name,
                seed=seed,
                task=task,
                group=group,
                folder=folder,
                inputs={"data": inputs["data"], "given": str(given)} if given is not None else inputs,
                outputs=outputs,
                settings=variant.settings,
                method=None if is_shared else method,
                depends=depends,
                steps=0 if only_memory or given is not None else steps_of_job(name, variant.settings),
            )
        return self._jobs[folder]

    def _evaluate(self, seed: int, variant: Variant, classifier: PlannedJob) -> PlannedJob:
        """Plan the evaluation of a shared classifier or of the variant's own."""
        own = classifier.method is not None
        group = variant.label if own else classifier.group
        folder = f"{seed_folder(self.results, seed)}/{place(group, classifier.task, 'evaluate')}"
        if folder not in self._jobs:
            self._jobs[folder] = PlannedJob(
                name="evaluate",
                seed=seed,
                task=classifier.task,
                group=group,
                folder=folder,
                inputs={"classifier": classifier.checkpoint, "data": self._evaluated(classifier.task, seed)},
                outputs={"accuracy": f"{folder}/accuracy.csv", "confusion": f"{folder}/confusion.csv"},
                settings=variant.settings,
                method=classifier.method,
            )
        return self._jobs[folder]

    def _judge(self, seed: int) -> PlannedJob | None:
        """The last classifier of a variant that trains on all images; no GAN was trained against it."""
        labels = [variant.label for variant in self.variants if variant.method.images == "so_far"]
        return self._chains[seed, labels[0]].classifiers[self.tasks[-1]] if labels else None

    def _evaluate_replay(
        self, seed: int, variant: Variant, chain: Chain, gan: PlannedJob, judge: PlannedJob | None
    ) -> PlannedJob:
        """Plan the comparison of a GAN's replay with real images."""
        group = variant.label if gan.method is not None else gan.group
        folder = f"{seed_folder(self.results, seed)}/{place(group, gan.task, 'evaluate_replay')}"
        if folder not in self._jobs:
            other = {"judge": judge.checkpoint} if judge is not None else {}
            self._jobs[folder] = PlannedJob(
                name="evaluate_replay",
                seed=seed,
                task=gan.task,
                group=group,
                folder=folder,
                inputs={
                    "gan": gan.checkpoint,
                    "classifier": chain.classifiers[gan.task].checkpoint,
                    "data": self.data("train", range(gan.task + 1), seed) + self._evaluated(gan.task, seed),
                    **other,
                },
                outputs={"replay": f"{folder}/replay.csv", "nearest": f"{folder}/nearest.safetensors"},
                settings=variant.settings,
                method=gan.method,
            )
            self._plan_sample_grids(self._jobs[folder], chain)
        return self._jobs[folder]

    def _plan_sample_grids(self, replay: PlannedJob, chain: Chain) -> None:
        """Plan the sample grids of a GAN; in direct mode it generates features, so there are none."""
        if replay.settings.gan.generated_stage:
            return
        inputs = {
            **replay.inputs,
            "nearest": replay.outputs["nearest"],
            "replay": replay.outputs["replay"],
            "data": self._evaluated(replay.task, replay.seed),
        }
        inputs.pop("judge", None)
        if replay.task - 1 in chain.gans:
            inputs["old_gan"] = chain.gans[replay.task - 1].checkpoint
        name = "plot_sample_grids"
        folder = f"{seed_folder(self.results, replay.seed)}/{place(replay.group, replay.task, name)}"
        self._jobs[folder] = dataclasses.replace(replay, name=name, folder=folder, inputs=inputs, outputs={})

    def _evaluated(self, task: int, seed: int) -> list[str]:
        return self.data(self.settings.evaluation.split, range(task + 1), seed)


def own_settings(run: RunSettings, variant: RunSettings, depends: frozenset[str]) -> str:
    """Return the suffix of a group: the settings in ``depends`` in which a variant differs from its run."""
    if variant is run:
        return ""
    here, there = (flat_settings(plain(settings)) for settings in (variant, run))
    changed = {
        name: value for name, value in sorted(here.items()) if value != there[name] and applies(name, depends)
    }
    if not changed:
        return ""
    text = "".join(f"+{name}={value}" for name, value in changed.items())
    if len(text) > GROUP_LENGTH or not SAFE.fullmatch(text):
        text = "+" + hashlib.sha256(json.dumps(changed).encode()).hexdigest()[:10]
    return text


def applies(setting: str, names: Iterable[str]) -> bool:
    """Return whether a setting is among these settings and blocks."""
    return any(setting == name or setting.startswith(f"{name}.") for name in names)


def _next_part(path: str, folder: str) -> str:
    """Return the part of a path that follows a folder."""
    return path.removeprefix(f"{folder}/").split("/")[0]


def _flat(files: Files) -> Iterator[str]:
    for value in files.values():
        if isinstance(value, str):
            yield value
        else:
            yield from value
