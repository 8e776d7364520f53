"""Accuracy after every task and the quality of the replay: their tables and plots."""

COLUMNS = ["method", "seed", "after_task", "eval_task", "n_classes", "n_test", "n_correct", "accuracy"]
"""Of accuracy.csv."""

CONFUSION_COLUMNS = [
    "method",
    "seed",
    "after_task",
    "eval_task",
    "label",
    "class_name",
    "predicted",
    "n_images",
]
"""Of confusion.csv: how many images of a class are taken for another; pairs that do not occur have no row."""

REPLAY_COLUMNS = [
    "seed",
    "after_task",
    "eval_task",
    "label",
    "class_name",
    "n_replayed",
    "n_agreeing",
    "agreement",
    "frechet",
    "frechet_of_held_out",
    "nearest",
    "nearest_of_held_out",
]
"""Of replay.csv, a row a class."""
