"""The plots of a run, by the table that they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from genifer.config import PlotSettings
from genifer.layout import plots_folder, table_path
from genifer.report.plots.accuracy import plot_accuracy
from genifer.report.plots.costs import plot_costs
from genifer.report.plots.forgetting import plot_forgetting
from genifer.report.plots.replay import plot_replay_quality
from genifer.report.plots.training import plot_training


def draw(what: str, settings: PlotSettings, results: Path, data: Sequence[Path]) -> None:
    """Draw plots from the tables of a run.

    Args:
        what: accuracy, forgetting, replay, training or costs.
        results: the run's folder.
        data: prepared test images of all tasks in order, for ``forgetting``.
    """
    output = Path(plots_folder(results))

    def table(name: str) -> Path:
        return Path(table_path(results, name))

    accuracy, confusion = table("accuracy"), table("confusion")
    plots: dict[str, Callable[[], None]] = {
        "accuracy": lambda: plot_accuracy(settings, accuracy, confusion, output),
        "forgetting": lambda: plot_forgetting(settings, accuracy, confusion, data, output),
        "replay": lambda: plot_replay_quality(settings, table("replay"), output),
        "training": lambda: plot_training(settings, table("training"), output),
        "costs": lambda: plot_costs(settings, table("costs"), output),
    }
    plots[what]()
