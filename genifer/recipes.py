"""Versions of the stages' recipes.

Snakemake and DVC do not look at the package's code: what they know of it are these numbers.
Raise a stage's number when a change of code changes its results, and not otherwise: then this
stage and what follows from it run again. ``tests/test_recipes.py`` fails where that was forgotten.
"""

RECIPES = {
    "download_data": 1,
    "prepare_data": 2,
    "use_checkpoint": 2,
    "pretrain_classifier": 3,
    "pretrain_gan": 3,
    "train_genifer": 3,
    "train_gan": 3,
    "train_finetune": 3,
    "train_joint": 3,
    "evaluate": 2,
    "evaluate_replay": 1,
    "tabulate": 2,
    "tabulate_replay": 1,
    "tabulate_training": 1,
    "tabulate_costs": 1,
    "write_tables": 1,
    "plot": 2,
}
