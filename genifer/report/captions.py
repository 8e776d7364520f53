"""Text and numbers for the captions of a run's report; all numbers are read from the run's tables."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from genifer.config import plain
from genifer.evaluation import (
    COLUMNS,
    CONFUSION_COLUMNS,
    COST_COLUMNS,
    REPLAY_COLUMNS,
    TRAINING_COLUMNS,
)
from genifer.evaluation.costs import cost_by_job
from genifer.evaluation.tables import (
    forgetting_of_classes,
    has_one_order,
    incremental_accuracy,
    read_table,
    with_common_labels,
)
from genifer.layout import Layout, place
from genifer.report.phrases import listed, old_images_note, over_seeds
from genifer.run_file import flat_settings, parse_settings
from genifer.runtime.durations import span
from genifer.versions import GAN_JOBS


class Captions:
    """Values for the captions of a finished run; each table is read when it is first needed.

    Values are reStructuredText, so names of classes and labels are escaped.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.settings = layout.settings

    def _table(self, name: str, columns: list[str]) -> pd.DataFrame:
        return read_table(Path(self.layout.table(name)), columns)

    @cached_property
    def _accuracy(self) -> pd.DataFrame:
        return self._table("accuracy", COLUMNS)

    @cached_property
    def _confusion(self) -> pd.DataFrame:
        return self._table("confusion", CONFUSION_COLUMNS)

    @cached_property
    def _replay(self) -> pd.DataFrame:
        return self._table("replay", REPLAY_COLUMNS)

    @cached_property
    def _costs(self) -> pd.DataFrame:
        return self._table("costs", COST_COLUMNS)

    @cached_property
    def _training(self) -> pd.DataFrame:
        return self._table("training", TRAINING_COLUMNS)

    # The run

    @property
    def run(self) -> str:
        return self.settings.run

    @property
    def methods(self) -> str:
        """Labels of the methods, separated by commas."""
        return ", ".join(map(escaped, self.layout.labels))

    @property
    def seeds(self) -> str:
        """``one seed`` or ``5 seeds``."""
        return over_seeds(len(self.settings.seeds))

    @property
    def means(self) -> str:
        """``one seed`` or ``means over 5 seeds``."""
        return over_seeds(len(self.settings.seeds), "means")

    @property
    def sums(self) -> str:
        """``one seed`` or ``sums over 5 seeds``."""
        return over_seeds(len(self.settings.seeds), "sums")

    @property
    def deviations(self) -> str:
        """``one seed`` or ``mean and standard deviation over 5 seeds``."""
        return over_seeds(len(self.settings.seeds), "mean and standard deviation")

    @property
    def scenario(self) -> str:
        """For example ``4 + 2 + 2 classes``."""
        return " + ".join(map(str, self.settings.scenario.tasks)) + " classes"

    @property
    def class_order(self) -> str:
        """For example ``class order 1993`` or ``class order drawn from the seed``."""
        order = self.settings.scenario.class_order
        if self.settings.scenario.order_is_drawn:
            return "class order drawn from the seed"
        return "class order of the run file" if isinstance(order, list) else f"class order {order}"

    @property
    def one_order(self) -> bool:
        """Whether all seeds share one class order, which also holds for a single seed."""
        return not self.settings.scenario.order_is_drawn or len(self.settings.seeds) == 1

    @property
    def named_seeds(self) -> str:
        """``seed 0`` or ``seeds 0, 1 and 2``."""
        seeds = [str(seed) for seed in self.settings.seeds]
        return f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)}"

    @property
    def split(self) -> str:
        return self.settings.evaluation.split

    @property
    def old_images(self) -> str:
        """Which methods use images of old tasks."""
        return old_images_note(
            {escaped(variant.label): variant.method.old_images() for variant in self.layout.variants}
        )

    @property
    def settings_that_differ(self) -> list[tuple[str, str, str]]:
        """Name, value and default (the paper's value) of each setting that differs from its default."""
        defaults = parse_settings({"plugins": [str(path) for path in self.settings.plugins]}, "defaults")
        here, there = (self._flat(plain(settings)) for settings in (self.settings, defaults))
        there["plugins"] = "[]"
        return [(name, value, there[name]) for name, value in here.items() if value != there[name]]

    @staticmethod
    def _flat(settings: dict[str, Any]) -> dict[str, str]:
        methods = settings["methods"]
        flat = flat_settings({name: value for name, value in settings.items() if name != "methods"})
        if isinstance(methods, dict):
            texts = {
                label: ", ".join(f"{name}: {value}" for name, value in flat_settings(own).items())
                for label, own in methods.items()
            }
            methods = [f"{label} ({text})" if text else label for label, text in texts.items()]
        return {"methods": ", ".join(methods)} | flat

    # Accuracy and forgetting

    @property
    def n_images(self) -> int:
        """Number of images on which the last classifier is evaluated."""
        one = self._accuracy[
            (self._accuracy["method"] == self._accuracy["method"].iloc[0])
            & (self._accuracy["seed"] == self._accuracy["seed"].iloc[0])
        ]
        return int(one[one["after_task"] == one["after_task"].max()]["n_test"].sum())

    @property
    def final_accuracies(self) -> str:
        """Final accuracy of each method, for example ``genifer 88.2 %, finetune 20.1 %``."""
        steps = incremental_accuracy(self._accuracy)
        last = steps[steps["after_task"] == steps["after_task"].max()]
        means = last.groupby("method", sort=False)["accuracy"].mean()
        return ", ".join(f"{escaped(method)} {100 * mean:.1f} %" for method, mean in means.items())

    @property
    def published_sources(self) -> str:
        """Sources of the published figures, for example ``A paper (Table 1) and Another paper``."""
        return listed([escaped(name) for name in dict.fromkeys(one.source for one in self.layout.published)])

    @property
    def published_definitions(self) -> str:
        """The definitions that the sources give for each metric."""
        given: dict[str, dict[str, None]] = {}
        for figure in self.layout.published:
            definition = escaped(figure.definition or "not defined")
            given.setdefault(figure.metric.replace("_", " "), {})[definition] = None
        return ". ".join(f"{metric}: {' or '.join(texts)}" for metric, texts in given.items())

    @property
    def first_task_lost(self) -> str:
        """Change of each method's accuracy on the first task, from its end to the end of the run."""
        of_first = self._accuracy[self._accuracy["eval_task"] == 0]
        changes = []
        for method, rows in of_first.groupby("method", sort=False):
            means = rows.groupby("after_task")["accuracy"].mean()
            changes.append(
                f"{escaped(method)} from {100 * means.iloc[0]:.1f} % to {100 * means.iloc[-1]:.1f} %"
            )
        return ", ".join(changes)

    @property
    def worst_classes(self) -> list[str]:
        """One sentence per method with up to three forgotten classes; empty if there is a single task."""
        sentences = []
        for method, confusion in self._confusion.groupby("method", sort=False):
            worst = forgetting_of_classes(confusion).head(3)
            if not worst.empty and worst["forgetting"].max() <= 0:
                sentences.append(f"{escaped(method)}: no class lost accuracy.")
                continue
            classes = ", ".join(
                f"{escaped(row['class_name'])} (from {100 * row['best']:.0f} % to {100 * row['final']:.0f} %)"
                for _, row in worst[worst["forgetting"] > 0].iterrows()
            )
            if classes:
                sentences.append(f"{escaped(method)}: {classes}.")
        return sentences

    @property
    def most_confused(self) -> list[str]:
        """One sentence per method with its most frequent confusion after the last task."""
        by_method = self._confusion.groupby("method", sort=False)
        return [f"{escaped(method)}: {_most_confused(table)}." for method, table in by_method]

    # Replay and GANs

    @property
    def agreements(self) -> list[str]:
        """One sentence per method with a GAN: the agreement of its last GANs."""
        return [f"{escaped(label)}: {_agreement(table)}." for label, table in self._last_gans()]

    @property
    def distances(self) -> list[str]:
        """One sentence per method with a GAN: Fréchet distance of its last replay and of held-out images."""
        return [
            f"{escaped(label)}: {table['frechet'].mean():.3g}, held-out images "
            f"{table['frechet_of_held_out'].mean():.3g}."
            for label, table in self._last_gans()
        ]

    @property
    def matching_stages(self) -> str:
        """Stages of the classifier whose features the GANs match, for example ``stage 4``."""
        variants = {variant.label: variant for variant in self.layout.variants}
        stages = {label: variants[label].settings.gan.matching_stage for label in self.layout.labels_with_gan}
        if len(set(stages.values())) == 1:
            return f"stage {next(iter(stages.values()))}"
        return ", ".join(f"stage {stage} for {escaped(label)}" for label, stage in stages.items())

    def agreement(self, group: str, seed: str, task: str) -> str:
        """Describe the agreement of one GAN: mean and minimum over its classes."""
        return _agreement(self._of_gan(group, seed, task))

    def nearest(self, group: str, seed: str, task: str) -> str:
        """Describe how far one GAN's replay and held-out images are from the nearest training image."""
        table = self._of_gan(group, seed, task)
        return (
            f"{table['nearest'].mean():.1f} grey levels, held-out images "
            f"{table['nearest_of_held_out'].mean():.1f}"
        )

    def _last_gans(self) -> Iterable[tuple[Any, pd.DataFrame]]:
        last = self._replay[self._replay["after_task"] == self._replay["after_task"].max()]
        return last.groupby("method", sort=False)

    def _of_gan(self, group: str, seed: str, task: str) -> pd.DataFrame:
        """Return the rows of one GAN; a shared GAN has equal rows under each method."""
        folder = place(group, int(task), "evaluate_replay")
        places = self.layout.table_settings["tabulate_replay"]["variants"]
        label = next(label for label, folders in places.items() if folder in folders)
        table = self._replay[self._replay["method"] == label]
        return table[(table["seed"] == int(seed)) & (table["after_task"] == int(task))]

    @property
    def n_gans(self) -> int:
        """Number of GAN trainings."""
        return sum(job.name in GAN_JOBS for job in self.layout.trainings)

    @property
    def diversity(self) -> str:
        """Lowest and highest diversity of the EMA generators at the end of their trainings."""
        table = self._training[self._training["scalar"] == "diversity"]
        if table.empty:
            return "not measured, because the trainings were too short"
        keys = ["method", "job", "seed", "task"]
        last = table.sort_values("step").groupby(keys)["value"].last()
        return f"{last.min():.2f} to {last.max():.2f}"

    # Costs

    @property
    def total_time(self) -> str:
        return span(self._costs["seconds"].sum())

    @property
    def longest_job(self) -> str:
        """The job that took most time, summed over the seeds."""
        jobs = cost_by_job(self._costs)
        if jobs.empty:
            return "no job on record"
        longest = jobs.nlargest(1, "seconds").iloc[0]
        return f"{escaped(longest['label'])} ({span(longest['seconds'])})"

    @property
    def n_jobs(self) -> int:
        return len(self._costs)

    @property
    def peak_memory(self) -> str:
        most = self._costs["memory_mb"].max()
        return "not known" if pd.isna(most) else f"{most / 1024:.1f} GB"

    @property
    def machines(self) -> str:
        return self._named("machine") or "not recorded"

    @property
    def precisions(self) -> str:
        return self._named("precision") or "not recorded"

    @property
    def versions(self) -> str:
        """Software versions of the trainings."""
        known = [(name, self._named(name)) for name in ("genifer", "torch", "python")]
        return ", ".join(f"{name} {version}" for name, version in known if version) or "not recorded"

    @property
    def reported_with(self) -> str:
        """Software versions that drew the plots and wrote the report."""
        import matplotlib
        import snakemake

        return (
            f"Snakemake {snakemake.__version__}, pandas {pd.__version__}, "
            f"Matplotlib {matplotlib.__version__}, Python {platform.python_version()}"
        )

    def _named(self, column: str) -> str:
        return ", ".join(escaped(name) for name in dict.fromkeys(self._costs[column].dropna()))


def escaped(name: object) -> str:
    """Escape a name for reStructuredText, where ``cat_`` would be a link and ``*`` begins emphasis."""
    return re.sub(r"([\\*`|_])", r"\\\1", str(name))


def _agreement(replay: pd.DataFrame) -> str:
    of_classes = replay.groupby("class_name", sort=False)["agreement"].mean()
    text = (
        f"{_percent(of_classes.mean())}, lowest for class {escaped(of_classes.idxmin())} "
        f"({_percent(of_classes.min())}); held-out images {_percent(replay['agreement_of_held_out'].mean())}"
    )
    if replay["judge_agreement"].isna().all():
        return text
    joint, held_out = (replay[f"judge_agreement{end}"].mean() for end in ("", "_of_held_out"))
    return (
        f"{text}. With the joint bound's classifier {_percent(joint)}; held-out images {_percent(held_out)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _with_common_predictions(confusion: pd.DataFrame) -> pd.DataFrame:
    """Give each class the same number for all seeds, both as true and as predicted class."""
    if has_one_order(confusion):
        return confusion
    common = with_common_labels(confusion)
    numbers = dict(zip(zip(confusion["seed"], confusion["label"], strict=True), common["label"], strict=True))
    pairs = zip(confusion["seed"], confusion["predicted"], strict=True)
    return common.assign(predicted=[numbers[pair] for pair in pairs])


def _most_confused(confusion: pd.DataFrame) -> str:
    table = confusion[confusion["after_task"] == confusion["after_task"].max()]
    table = _with_common_predictions(table)
    names = dict(zip(table["label"], table["class_name"], strict=True))
    pairs = table.groupby(["label", "predicted"])["n_images"].sum()
    totals = pairs.groupby("label").sum()
    labels, predicted = (pairs.index.get_level_values(name) for name in ("label", "predicted"))
    wrong = pairs[labels != predicted]
    if wrong.empty:
        return "no image is misclassified"
    shares = wrong / totals.reindex(wrong.index.get_level_values("label")).to_numpy()
    label, taken_for = shares.idxmax()
    share = f"{100 * shares.max():.0f} %"
    return f"most often {escaped(names[label])} is classified as {escaped(names[taken_for])} ({share})"
