"""Methods: one file each. To add one, see docs/add-a-method.md.

A plugin imports what it needs from here: ``from genifer.methods import Batch, Method, TrainingSettings``.
"""

from genifer.methods.method import Batch, Method
from genifer.settings import FrozenSettings, HeadSettings, TrainingSettings

PAPER = ("genifer", "finetune", "joint")
"""The default of ``methods``: the paper's method and its lower and upper bound."""

__all__ = ["PAPER", "Batch", "FrozenSettings", "HeadSettings", "Method", "TrainingSettings"]
