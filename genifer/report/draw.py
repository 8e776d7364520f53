"""Draw the plots of a run, grouped by the table that they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from genifer.config import PlotSettings
from genifer.errors import GeniferError
from genifer.layout import plots_folder, table_path
from genifer.published import Published

Plot = Literal["accuracy", "published", "forgetting", "replay", "training", "costs"]


def draw(
    what: Plot,
    settings: PlotSettings,
    results: Path,
    data: Sequence[Path],
    published: Sequence[Published] = (),
    scenario: str = "",
) -> None:
    """Draw plots from the tables of a run.

    Args:
        what: which group of plots.
        results: the run's folder.
        data: prepared test images of all tasks in order, for ``forgetting``.
        published: published figures that fit the run, for ``published``.
        scenario: data set and tasks, for the titles.

    Raises:
        GeniferError: a table is missing or damaged, or there is nothing to draw.
    """
    output = Path(plots_folder(results))

    def table(name: str) -> Path:
        return Path(table_path(results, name))

    # Each plot is a job of its own and imports only what it needs, because PyTorch is slow to import.
    match what:
        case "accuracy":
            from genifer.report.plots.accuracy import plot_accuracy

            plot_accuracy(settings, table("accuracy"), table("confusion"), output, scenario)
        case "published":
            from genifer.report.plots.published import plot_published

            if not published:
                raise GeniferError(
                    f"plots.published: {settings.published} has no figure for this run; name a CSV file with "
                    "test accuracies for its data.dataset and scenario.tasks "
                    "(docs/published.csv is an example)"
                )
            plot_published(settings, published, table("accuracy"), output, scenario)
        case "forgetting":
            from genifer.report.plots.forgetting import plot_forgetting

            plot_forgetting(settings, table("accuracy"), table("confusion"), data, output, scenario)
        case "replay":
            from genifer.report.plots.replay import plot_replay_quality

            plot_replay_quality(settings, table("replay"), output)
        case "training":
            from genifer.report.plots.training import plot_training

            plot_training(settings, table("training"), output)
        case "costs":
            from genifer.report.plots.budget import plot_budget
            from genifer.report.plots.costs import plot_costs

            plot_costs(settings, table("costs"), table("budget"), output)
            plot_budget(settings, table("budget"), table("accuracy"), output, scenario)
