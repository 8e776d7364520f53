"""What a run found, for the words of its report: every number there comes from the run's tables."""

from __future__ import annotations

import platform
from functools import cached_property
from pathlib import Path

import pandas as pd

from genifer.config import RunSettings, flat_settings
from genifer.evaluation.costs import span, stages_of
from genifer.evaluation.tables import (
    forgetting_of_classes,
    incremental_accuracy,
    read_table,
)


class Findings:
    """Sentences and figures about a finished run; tables are read when something is asked.

    Args:
        results: the run's folder.
    """

    def __init__(self, results: Path, settings: RunSettings) -> None:
        self.results = results
        self.settings = settings

    @cached_property
    def _accuracy(self) -> pd.DataFrame:
        return read_table(self.results / "accuracy.csv")

    @cached_property
    def _confusion(self) -> pd.DataFrame:
        return read_table(self.results / "confusion.csv")

    @cached_property
    def _replay(self) -> pd.DataFrame:
        return read_table(self.results / "replay.csv")

    @cached_property
    def _costs(self) -> pd.DataFrame:
        return read_table(self.results / "costs.csv")

    @cached_property
    def _training(self) -> pd.DataFrame:
        return read_table(self.results / "training.csv")

    @property
    def run(self) -> str:
        return self.settings.run

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(self._accuracy["method"]))

    @property
    def seeds(self) -> str:
        count = self._accuracy["seed"].nunique()
        return f"{count} seeds" if count > 1 else "one seed"

    @property
    def means(self) -> str:
        count = self._accuracy["seed"].nunique()
        return f"means over {count} seeds" if count > 1 else "one seed"

    @property
    def scenario(self) -> str:
        """For example '4 + 2 + 2 classes'."""
        return " + ".join(map(str, self.settings.scenario.tasks)) + " classes"

    @property
    def split(self) -> str:
        return self.settings.evaluation.split

    @property
    def n_images(self) -> int:
        """Images that the classifier after the last task is evaluated on."""
        one = self._accuracy[
            (self._accuracy["method"] == self._accuracy["method"].iloc[0])
            & (self._accuracy["seed"] == self._accuracy["seed"].iloc[0])
        ]
        return int(one[one["after_task"] == one["after_task"].max()]["n_test"].sum())

    @property
    def final_accuracies(self) -> str:
        """Of each method, for example 'genifer 88.2 %, finetune 20.1 %'."""
        steps = incremental_accuracy(self._accuracy)
        last = steps[steps["after_task"] == steps["after_task"].max()]
        means = last.groupby("method", sort=False)["accuracy"].mean()
        return ", ".join(f"{method} {100 * mean:.1f} %" for method, mean in means.items())

    def lost(self, method: str) -> str:
        """How much of the first task's accuracy a method loses until the end."""
        of_first = self._accuracy[(self._accuracy["method"] == method) & (self._accuracy["eval_task"] == 0)]
        means = of_first.groupby("after_task")["accuracy"].mean()
        return f"{100 * means.iloc[0]:.1f} % to {100 * means.iloc[-1]:.1f} %"

    def worst_classes(self, method: str) -> str:
        """The three classes that a method forgets most, with their accuracies at best and in the end."""
        table = forgetting_of_classes(self._confusion[self._confusion["method"] == method]).head(3)
        return ", ".join(
            f"{row['class_name']} ({100 * row['best']:.0f} % to {100 * row['final']:.0f} %)"
            for _, row in table.iterrows()
        )

    def most_confused(self, method: str) -> str:
        """The largest entry off the diagonal after the last task."""
        table = self._confusion[self._confusion["method"] == method]
        table = table[table["after_task"] == table["after_task"].max()]
        names = dict(zip(table["label"], table["class_name"], strict=True))
        pairs = table.groupby(["label", "predicted"])["n_images"].sum()
        totals = pairs.groupby("label").sum()
        labels, predicted = (pairs.index.get_level_values(name) for name in ("label", "predicted"))
        wrong = pairs[labels != predicted]
        if wrong.empty:
            return "no image is taken for another class"
        shares = wrong / totals.reindex(wrong.index.get_level_values("label")).to_numpy()
        label, taken_for = shares.idxmax()
        return f"most often {names[label]} is taken for {names[taken_for]} ({100 * shares.max():.0f} %)"

    def _of_gan(self, seed: str | None = None, task: str | None = None) -> pd.DataFrame:
        """Replay of one GAN, or of the last ones of all seeds."""
        table = self._replay
        if seed is not None:
            table = table[table["seed"] == int(seed)]
        last = table["after_task"].max() if task is None else int(task)
        return table[table["after_task"] == last]

    def agreement(self, seed: str | None = None, task: str | None = None) -> str:
        """Mean over the classes, and the worst class."""
        of_classes = self._of_gan(seed, task).groupby("class_name", sort=False)["agreement"].mean()
        return (
            f"{100 * of_classes.mean():.0f} %, least for class {of_classes.idxmin()} "
            f"({100 * of_classes.min():.0f} %)"
        )

    def distances(self) -> str:
        """Mean Frechet distance of the last GANs' classes, and that of held-out images."""
        table = self._of_gan()
        return f"{table['frechet'].mean():.3g}, of held-out images {table['frechet_of_held_out'].mean():.3g}"

    def nearest(self, seed: str, task: str) -> str:
        """Mean distance to the nearest training image, in grey levels, and that of held-out images."""
        table = self._of_gan(seed, task)
        return (
            f"{table['nearest'].mean():.1f} grey levels, of held-out images "
            f"{table['nearest_of_held_out'].mean():.1f}"
        )

    @property
    def n_gans(self) -> int:
        return len(
            self._training[self._training["scalar"] == "g_loss"][["stage", "seed", "task"]].drop_duplicates()
        )

    @property
    def diversity(self) -> str:
        """Of the averaged generators at the end of their trainings: least and most."""
        table = self._training[self._training["scalar"] == "diversity"]
        if table.empty:
            return "not measured in so short a training"
        last = table.sort_values("step").groupby(["stage", "seed", "task"])["value"].last()
        return f"{last.min():.2f} to {last.max():.2f}"

    @property
    def total_time(self) -> str:
        return span(self._costs["seconds"].sum())

    @property
    def longest_stage(self) -> str:
        stages = stages_of(self._costs)
        longest = stages.nlargest(1, "seconds").iloc[0]
        return f"{longest['label']} ({span(longest['seconds'])})"

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
        """Of what the trainings ran with."""
        known = [(name, self._named(name)) for name in ("genifer", "torch", "python")]
        return ", ".join(f"{name} {version}" for name, version in known if version) or "not recorded"

    @property
    def reported_with(self) -> str:
        """Versions of what drew the plots and wrote the report."""
        import matplotlib
        import snakemake

        return (
            f"Snakemake {snakemake.__version__}, pandas {pd.__version__}, "
            f"Matplotlib {matplotlib.__version__}, Python {platform.python_version()}"
        )

    def _named(self, column: str) -> str:
        return ", ".join(map(str, dict.fromkeys(self._costs[column].dropna())))

    @property
    def settings_that_differ(self) -> list[tuple[str, str, str]]:
        """Name, value and the paper's value of each setting that is not the paper's."""
        here, paper = (
            flat_settings(settings.model_dump(mode="json")) for settings in (self.settings, RunSettings())
        )
        return [(name, value, paper[name]) for name, value in here.items() if value != paper[name]]
