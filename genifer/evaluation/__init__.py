"""Measure accuracy after every task, replay quality and costs, and collect them into tables."""

METRICS = (
    "average_incremental_accuracy",
    "average_incremental_accuracy_with_first_task",
    "final_accuracy",
    "forgetting",
    "backward_transfer",
    "intransigence",
)
"""Metrics of a method; ``average_incremental_accuracy`` leaves the first task out."""

METRIC_NAMES = {
    "average_incremental_accuracy": "average incremental",
    "average_incremental_accuracy_with_first_task": "with first task",
    "final_accuracy": "final",
    "forgetting": "forgetting",
}
"""The metrics shown in narrow tables, with their column headings; CSV files have all metrics."""

RUN_COLUMN = "run"
"""First column of each table of a run, before the columns listed here. Tables of earlier versions lack it."""

ORDER_COLUMN = "class_order"
"""Column of accuracy.csv, summary.csv and metrics_per_seed.csv: the seed of the class order, ``sorted``,
``given``, or ``seed`` if each seed of the run has an order of its own. Tables of earlier versions lack it,
unless it is ``seed``."""

SUMMARY_COLUMNS = [
    "method",
    "n_seeds",
    "old_images",
    *(f"{name}_{statistic}" for name in METRICS for statistic in ("mean", "std")),
]
"""Columns of summary.csv, which `ORDER_COLUMN` follows; ``old_images`` (none, all or exemplars) says which
old images trainings use."""

SETTINGS_COLUMNS = ["method", "setting", "setting_value"]
"""Columns of settings.csv: the settings on which accuracies depend. ``method`` is empty for those that are
the same for all methods of the run."""

COLUMNS = ["method", "seed", "after_task", "eval_task", "n_classes", "n_test", "n_correct", "accuracy"]
"""Columns of accuracy.csv, which `ORDER_COLUMN` follows."""

CONFUSION_COLUMNS = [
    "method",
    "seed",
    "after_task",
    "eval_task",
    "label",
    "class_name",
    "predicted",
    "predicted_name",
    "n_images",
]
"""Columns of confusion.csv, the counts of a confusion matrix; pairs that do not occur have no row."""

REPLAY_COLUMNS = [
    "method",
    "seed",
    "after_task",
    "eval_task",
    "label",
    "class_name",
    "n_replayed",
    "n_agreeing",
    "agreement",
    "agreement_of_held_out",
    "judge_agreement",
    "judge_agreement_of_held_out",
    "coverage",
    "frechet",
    "frechet_of_held_out",
    "nearest",
    "nearest_of_held_out",
]
"""Columns of replay.csv, which has one row per class."""

TRAINING_COLUMNS = ["method", "job", "seed", "task", "step", "scalar", "value"]
"""Columns of training.csv; a training that logs nothing has one row without scalar and value."""

COST_COLUMNS = [
    "job",
    "group",
    "seed",
    "task",
    "seconds",
    "cpu_seconds",
    "memory_mb",
    "gpu_memory_mb",
    "ended",
    "device",
    "machine",
    "precision",
    "threads",
    "genifer",
    "torch",
    "python",
]
"""Columns of costs.csv: for each job wall time, CPU time, peak memory (MiB), end, machine and versions;
``group`` as in `genifer.layout`."""

SIZES = ("minutes", "parameters", "stored_mb")

BUDGET_COLUMNS = ["method", "series", "seed", "gan_steps", *SIZES]
"""Columns of budget.csv: minutes and GAN steps of each method's trainings, shared ones included; parameters
used to classify after the last task; MB kept between tasks. Methods of one series differ only in steps and in
the EMA settings that depend on them."""

FIRST_TASK_JOB = "pretrain_classifier"
"""The training of the first task, which methods share."""
