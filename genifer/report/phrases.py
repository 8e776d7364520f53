"""Phrases shared by captions, plots and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from genifer.evaluation.tables import order_is_drawn

if TYPE_CHECKING:
    import pandas as pd


def over_seeds(count: int, statistic: str = "") -> str:
    """State over how many seeds a value is computed.

    Args:
        count: number of seeds.
        statistic: the statistic over them, such as ``means``.

    Returns:
        ``one seed``, ``5 seeds`` or ``means over 5 seeds``.
    """
    if count == 1:
        return "one seed"
    return f"{statistic} over {count} seeds" if statistic else f"{count} seeds"


def order_note(accuracy: pd.DataFrame) -> str:
    """State that the class order is drawn from the seed, and list the seeds; empty if seeds share one order.

    Args:
        accuracy: as in accuracy.csv.
    """
    if not order_is_drawn(accuracy):
        return ""
    seeds = listed([str(seed) for seed in dict.fromkeys(accuracy["seed"])])
    return f"The class order is drawn from the seed ({seeds}), so deviations over seeds include its effect."


OLD_IMAGES = {
    "all": ("uses the images of all tasks so far", "use the images of all tasks so far"),
    "exemplars": ("stores exemplars (images of old tasks)", "store exemplars (images of old tasks)"),
}
"""Wording for one method and for several."""


def old_images_note(old_images: Mapping[str, str]) -> str:
    """State in one sentence which methods use images of old tasks in training.

    Args:
        old_images: none, all or exemplars for each label.
    """
    parts = []
    for kind, (one, several) in OLD_IMAGES.items():
        labels = [label for label, of_label in old_images.items() if of_label == kind]
        if labels:
            parts.append(f"{listed(labels)} {one if len(labels) == 1 else several}")
    if not parts:
        return "No method uses images of old tasks."
    others = sum(kind not in OLD_IMAGES for kind in old_images.values())
    if others:
        parts.append(f"the other {'method uses' if others == 1 else 'methods use'} no images of old tasks")
    return "; ".join(parts) + "."


def listed(words: Sequence[str]) -> str:
    """Join words as in ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def device_name(device: str) -> str:
    """Return the usual name of a PyTorch device."""
    return {"cuda": "GPU", "cpu": "CPU"}.get(device, device)
