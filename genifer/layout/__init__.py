"""The plan of a run: its jobs, their inputs and outputs, and the paths of all files.

Only this package knows paths; rules, `genifer watch`, costs, estimates and tests ask it. A job's folder is::

    results/<run>/jobs/seed_<s>/<group>/task_<t>/<job>/

The group of a training is ``shared`` (on the first task, which methods share) or the method's name. If a
variant's own settings change a training, they become part of the group, for example
``genifer+gan.ada.mode=none``, so trainings with equal settings and inputs are the same files, whichever
variants need them. The group of an evaluation is the variant's label, or the group of a shared classifier or
GAN.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from genifer.config import RunSettings, Variant, plain
from genifer.layout.jobs import Jobs, PlannedJob, applies
from genifer.layout.names import (
    BENCHMARK,
    CAPTIONS,
    DOWNLOADS,
    GAN,
    METRICS,
    PLAN,
    PLOT_FORMATS,
    PROVENANCE,
    RECORDS,
    REPORT,
    RESULTS,
    SNAKEMAKE_REPORT,
    pages_folder,
    place,
    plots_folder,
    seed_folder,
    table_path,
)
from genifer.published import fitting
from genifer.run_file import flat_settings
from genifer.versions import GAN_JOBS, NOT_OF_RESULTS, SHARED_BY_METHODS, VERSIONS, job_settings

__all__ = [
    "BENCHMARK",
    "CAPTIONS",
    "GAN",
    "METRICS",
    "PLAN",
    "PLOT_FORMATS",
    "PROVENANCE",
    "RECORDS",
    "REPORT",
    "RESULTS",
    "SNAKEMAKE_REPORT",
    "Figure",
    "Layout",
    "Picture",
    "PlannedJob",
    "Table",
    "pages_folder",
    "place",
    "plots_folder",
    "seed_folder",
    "table_path",
]


@dataclass(frozen=True)
class Picture:
    """A plot or table of the report.

    Attributes:
        name: file name without suffix.
        caption: name of the caption in ``workflow/report``.
        category: category in the report.
        labels: what distinguishes it from others in its category.
    """

    name: str
    caption: str
    category: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A job that collects results of other jobs.

    Attributes:
        job, name: its rule, and the argument of `genifer tabulate`.
    """

    job: str
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """A job that draws plots from the run's tables.

    Attributes:
        job, name: its rule, and the argument of `genifer plot`.
        data: prepared images that it shows.
        given: files named in the settings.
        settings: name of the job whose settings and version it depends on.
    """

    job: str
    name: str
    tables: Sequence[str]
    pictures: Sequence[Picture]
    data: Sequence[str] = ()
    given: Sequence[str] = ()
    settings: str = "plot"


def picture(name: str, category: str, caption: str = "", label: str = "", **labels: str) -> Picture:
    """Return a plot, of one label if that is given."""
    return Picture(
        f"{name}_{label}" if label else name,
        caption or name,
        category,
        {"shows": name.replace("_", " ")} | labels | ({"method": label} if label else {}),
    )


class Layout(Jobs):
    """The jobs and files of a run.

    Raises:
        GeniferError: the file named in ``plots.published`` is invalid.
    """

    def __init__(self, settings: RunSettings, results: Path = RESULTS) -> None:
        super().__init__(settings, results)
        self.published = fitting(settings)
        """Published figures that fit the run."""

    # Data

    @property
    def splits(self) -> list[str]:
        return ["train", "test", *(["validation"] if self.settings.data.validation_fraction > 0 else [])]

    def prepared_for(self, seed: int | str) -> list[str]:
        """Return the prepared files for a seed; see `data_folder` for when seeds share them."""
        return [path for split in self.splits for path in self.data(split, self.tasks, seed)]

    @property
    def prepared(self) -> list[str]:
        return list(dict.fromkeys(path for seed in self.settings.seeds for path in self.prepared_for(seed)))

    @property
    def downloaded(self) -> str:
        """Where the data set's archive is downloaded to; empty if the data set is not downloaded."""
        dataset = self.settings.registry.dataset(self.settings.data.dataset)
        wanted = dataset.archive == "download" and self.settings.data.archive is None
        return str(DOWNLOADS / dataset.name / dataset.download_name()) if wanted else ""

    @property
    def archive(self) -> list[str]:
        """The file from which the data are prepared, if there is a single one."""
        path = self.settings.data.archive
        if path is not None:
            return [str(path)] if path.is_file() else []
        return [self.downloaded] if self.downloaded else []

    # Settings passed from the workflow to jobs

    def settings_json(self, job: str, seed: int | str | None = None) -> str:
        """Return settings and version of a job that is the same for all variants.

        Args:
            seed: the job's seed, if a setting depends on it.
        """
        if job in self.table_settings:
            # Not sorted: the order of labels decides the order of rows and colours.
            return json.dumps({"version": VERSIONS[job], **self.table_settings[job]})
        settings = self.settings if seed is None else self.settings.of_seed(int(seed))
        return json.dumps(job_settings(settings, job), sort_keys=True)

    @property
    def runtime_options(self) -> str:
        """Plugins, and settings that change no results, as JSON."""
        names = (
            "compile",
            "data_on_device",
            "gpus_per_job",
            "jobs_per_gpu",
            "resume_every",
            "trackers",
            "collapse_limit",
        )
        runtime = plain(self.settings.runtime)
        plugins = [str(path) for path in self.settings.plugins]
        return json.dumps({"plugins": plugins} | {name: runtime[name] for name in names})

    @property
    def gpus_per_training(self) -> int:
        """Number of GPUs that a training's rule requests."""
        runtime = self.settings.runtime
        return 0 if runtime.device == "cpu" else runtime.gpus_per_job

    @property
    def evaluation_device(self) -> str:
        """The device of evaluations, which request no GPU and so use one only if there is one."""
        device = self.settings.runtime.device
        return "auto" if device == "cuda" else device

    # Tables and plots

    def table(self, name: str) -> str:
        """Return the path of a CSV file of the run."""
        return table_path(self.results, name)

    @property
    def table_names(self) -> list[str]:
        """Names of the CSV files that the report shows as pages."""
        return ["accuracy", "summary", "confusion", "replay", "costs"]

    @property
    def metrics(self) -> list[str]:
        """Paths of the metrics files for DVC, one per label."""
        return [f"{self.results}/metrics/{label}.json" for label in self.labels]

    @cached_property
    def table_settings(self) -> dict[str, dict[str, Any]]:
        """For each job that makes a table: the seeds, and by label the folders to read below a seed's."""
        seeds = self.settings.seeds
        accuracy = {
            variant.label: {
                "old_images": variant.method.old_images(),
                "places": [job.place for job in self._evaluations[seeds[0], variant.label]],
            }
            for variant in self.variants
        }
        replay = {
            label: [job.place for job in jobs]
            for (seed, label), jobs in self._replay_evaluations.items()
            if seed == seeds[0] and jobs
        }
        training = {
            label: [job.place for job in self._trainings_of(label) if job.trains] for label in self.labels
        }
        gan_steps = {
            label: sum(job.steps for job in self._trainings_of(label) if job.name in GAN_JOBS)
            for label in self.labels
        }
        budget = {
            variant.label: {
                "series": self._series(variant),
                "gan_steps": gan_steps[variant.label],
                "places": training[variant.label],
                **self._kept(variant),
            }
            for variant in self.variants
        }
        order = self.settings.scenario.class_order
        first_seed = [job for job in self._jobs.values() if job.seed == seeds[0]]
        costs = [job.place for job in first_seed if job.trains or job.name.startswith("evaluate")]
        drawn_order = self.settings.scenario.order_is_drawn
        data = {
            self.data_folder(seed).removeprefix(f"{self.results}/"): seed if drawn_order else None
            for seed in seeds
        }
        return {
            "tabulate": {
                "seeds": seeds,
                "variants": accuracy,
                "settings": self._settings_of_accuracies(),
                "class_order": "given" if isinstance(order, list) else str(order),
            },
            "tabulate_replay": {"seeds": seeds, "variants": replay},
            "tabulate_training": {"seeds": seeds, "variants": training},
            "tabulate_costs": {"seeds": seeds, "data": data, "places": costs, "variants": budget},
            "write_tables": {"tables": [page.name for page in self.pages]},
        }

    def _settings_of_accuracies(self) -> dict[str, dict[str, str]]:
        """Settings on which the accuracies of each label depend; under an empty label those of all."""
        by_label = {}
        for variant in self.variants:
            chain = self._chains[self.settings.seeds[0], variant.label]
            names = {*SHARED_BY_METHODS, *chain.classifiers[self.tasks[-1]].depends}
            by_label[variant.label] = {
                name: value
                for name, value in flat_settings(plain(variant.settings)).items()
                if applies(name, names) and not applies(name, NOT_OF_RESULTS)
            }
        first, *others = by_label.values()
        common = {
            name: value for name, value in first.items() if all(other.get(name) == value for other in others)
        }
        own = {
            label: {name: value for name, value in settings.items() if name not in common}
            for label, settings in by_label.items()
        }
        return {"": common} | own

    def _kept(self, variant: Variant) -> dict[str, Any]:
        """Files that a variant classifies with after the last task, and files that it keeps before it."""
        seed, method = self.settings.seeds[0], variant.method
        chain, folder = self._chains[seed, variant.label], f"{seed_folder(self.results, seed)}/"
        classifier = chain.classifiers[self.tasks[-1]].checkpoint
        gans = [gan.checkpoint for _, gan in sorted(chain.gans.items())[-1:]]
        images = (
            self.data("train", self.tasks[:-1], self.settings.seeds[0]) if method.images == "so_far" else []
        )
        return {
            "classifier": classifier.removeprefix(folder),
            "unused": list(method.only_for_training) if method.has_own_logits() else None,
            "kept": [path.removeprefix(folder) for path in (classifier, *gans)],
            "images": [path.removeprefix(f"{self.results}/") for path in images],
        }

    def _series(self, variant: Variant) -> str:
        """Common label of the variants that differ from this one only in steps."""
        own, method = _without_steps(variant.own), variant.method
        alike = [
            other.label
            for other in self.variants
            if other.method is method and _without_steps(other.own) == own
        ]
        if len(alike) == 1:
            return alike[0]
        common = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*alike, strict=False))
        return "".join(letters[0] for letters in common).rstrip("-_.0123456789") or alike[0]

    def _trainings_of(self, label: str) -> list[PlannedJob]:
        chain = self._chains[self.settings.seeds[0], label]
        shared = []
        if chain.classifiers[self.first].name != "pretrain_classifier":
            shared = [
                job
                for job in self.trained_before(chain.classifiers[self.first])
                if job.name == "pretrain_classifier"
            ]
        return [*shared, *chain.classifiers.values(), *chain.gans.values()]

    @property
    def _images_of_bounds(self) -> list[str]:
        """Training images of the tasks before the last, if a variant stores them."""
        keeps = any(variant.method.images == "so_far" for variant in self.variants)
        return self.data("train", self.tasks[:-1], self.settings.seeds[0]) if keeps else []

    @property
    def labels_with_gan(self) -> list[str]:
        """Labels of the variants that have a GAN."""
        seed = self.settings.seeds[0]
        return [label for label in self.labels if self._chains[seed, label].gans]

    @property
    def tabulated(self) -> list[Table]:
        """The jobs that make the run's CSV files."""
        evaluations = self.evaluations + self.replay_evaluations
        return [
            Table(
                "tabulate",
                "accuracy",
                [path for job in self.evaluations for path in job.outputs.values()],
                [
                    *map(self.table, ("accuracy", "summary", "metrics_per_seed", "confusion", "settings")),
                    *self.metrics,
                ],
            ),
            Table(
                "tabulate_replay",
                "replay",
                [job.outputs["replay"] for job in self.replay_evaluations],
                [self.table("replay")],
            ),
            Table(
                "tabulate_training",
                "training",
                [job.outputs["metrics"] for job in self.trainings],
                [self.table("training")],
            ),
            # Benchmark files are not outputs, so this job waits for the other outputs of the jobs.
            Table(
                "tabulate_costs",
                "costs",
                [*(job.checkpoint for job in self.trainings + evaluations), *self._images_of_bounds],
                [self.table("costs"), self.table("budget")],
            ),
        ]

    @property
    def figures(self) -> list[Figure]:
        """The jobs that draw the run's plots; plots without data are left out."""

        def per_label(name: str, category: str, labels: Sequence[str] = self.labels) -> list[Picture]:
            return [picture(name, category, label=label) for label in labels]

        accuracy = [self.table("accuracy"), self.table("confusion")]
        figures = [
            Figure(
                "plot_accuracy",
                "accuracy",
                accuracy,
                [
                    picture("accuracy", "Accuracy", method="all"),
                    *per_label("accuracy_matrix", "Accuracy"),
                    *per_label("confusion", "Accuracy"),
                ],
            ),
            Figure(
                "plot_published",
                "published",
                [self.table("accuracy")],
                [picture("published", "Accuracy", method="all")] if self.published else [],
                given=[str(self.settings.plots.published)] if self.published else [],
                settings="plot_published",
            ),
            Figure(
                "plot_forgetting",
                "forgetting",
                accuracy,
                [
                    picture("forgetting", "Forgetting", method="all"),
                    *per_label("forgotten_classes", "Forgetting"),
                ],
                data=self.data(self.settings.evaluation.split, self.tasks, self.settings.seeds[0]),
            ),
            Figure(
                "plot_replay",
                "replay",
                [self.table("replay")],
                [
                    *per_label("replay_agreement", "Replay", self.labels_with_gan),
                    *per_label("replay_frechet", "Replay", self.labels_with_gan),
                ],
            ),
            Figure("plot_training", "training", [self.table("training")], self._training_pictures()),
            Figure(
                "plot_costs",
                "costs",
                [self.table(name) for name in ("costs", "budget", "accuracy")],
                [picture("costs", "Run"), picture("budget", "Accuracy", method="all")],
            ),
        ]
        return [figure for figure in figures if figure.pictures]

    def _training_pictures(self) -> list[Picture]:
        pictures = []
        if any(job.name == "pretrain_classifier" for job in self.trainings):
            pictures.append(picture("training_first_task", "Training", "training"))
        for label in self.labels:
            names = {job.name for job in self._trainings_of(label) if job.trains}
            gans = names & set(GAN_JOBS)
            if names - gans - {"pretrain_classifier"}:
                pictures.append(picture("training", "Training", label=label))
            if gans:
                pictures.append(picture("training_gan", "Training", label=label))
        return pictures

    def sample_grids(self, group: str, seed: int | str, task: int | str) -> list[Picture]:
        """Return the sample grids of a GAN; ``group`` is that of its evaluation."""
        which, labels = f"{group}_seed_{seed}_task_{task}", {"GAN": f"{group}, seed {seed}, task {task}"}
        return [
            Picture(f"{kind}_{which}", kind, "Sample grids", {"shows": kind} | labels)
            for kind in ("replay", "nearest")
        ]

    @property
    def drawn_gans(self) -> list[PlannedJob]:
        """The jobs that draw sample grids, one per GAN that generates images."""
        return [job for job in self._jobs.values() if job.name == "plot_sample_grids"]

    def sample_grids_of(self, job: PlannedJob) -> list[Picture]:
        """Return the sample grids of one of `drawn_gans`."""
        return self.sample_grids(job.group, job.seed, job.task)

    @property
    def pages(self) -> list[Picture]:
        """The tables that the report shows as pages."""
        pages = [
            ("summary", "Accuracy", {"method": "all"}),
            ("accuracy", "Accuracy", {"method": "all"}),
            ("forgotten_classes", "Forgetting", {"method": "all"}),
            *([("replay", "Replay", {"GAN": "all"})] if self.labels_with_gan else []),
            ("costs", "Run", {}),
        ]
        return [
            Picture(name, f"table_{name}", category, {"shows": f"{name.replace('_', ' ')} (table)"} | labels)
            for name, category, labels in pages
        ]

    def page(self, table: Picture) -> str:
        return f"{pages_folder(self.results)}/{table.name}.html"

    def plot(self, plotted: Picture) -> list[str]:
        """Return the files of a plot; the report shows the first."""
        return [f"{plots_folder(self.results)}/{plotted.name}.{suffix}" for suffix in PLOT_FORMATS]

    def log(self, job: str) -> str:
        return f"{self.results}/logs/{job}.log"

    def benchmark(self, job: str) -> str:
        return f"{self.results}/logs/{job}.{BENCHMARK}"

    @property
    def final(self) -> list[str]:
        """The final files of the run: tables and plots."""
        pictures = [one for figure in self.figures for one in figure.pictures]
        pictures += [grid for job in self.drawn_gans for grid in self.sample_grids_of(job)]
        return [
            *(path for table in self.tabulated for path in table.outputs),
            *(path for one in pictures for path in self.plot(one)),
            *(self.page(page) for page in self.pages),
        ]


FOLLOWS_STEPS = (".steps", ".ema_rampup_steps", ".ema_half_life")
"""Settings that depend on the length of a training."""


def _without_steps(own: Mapping[str, Any]) -> dict[str, Any]:
    flat = flat_settings({name: value for name, value in own.items() if name != "method"})
    return {name: value for name, value in flat.items() if not name.endswith(FOLLOWS_STEPS)}
