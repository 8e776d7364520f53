"""Accuracy after every task, its tables and its plots."""

COLUMNS = ["method", "seed", "after_task", "eval_task", "n_classes", "n_test", "n_correct", "accuracy"]
"""Of accuracy.csv."""
