"""Data sets, their preparation as one file per task and split, and batches on the device.

A data set of your own imports what it needs from here: ``from genifer.data import Arrays, Dataset``.
"""

from genifer.data.dataset import Arrays, Dataset

__all__ = ["Arrays", "Dataset"]
