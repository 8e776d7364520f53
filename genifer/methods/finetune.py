"""Finetuning, the lower bound of continual learning."""

from genifer.methods.method import Method


class Finetune(Method):
    """Lower bound: trains on the current task's images only."""

    name = "finetune"
    version = 3
