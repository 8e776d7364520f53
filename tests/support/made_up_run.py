"""A run whose jobs' files are made up: for tables, plots and captions without a training."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genifer.evaluation import COLUMNS, CONFUSION_COLUMNS, REPLAY_COLUMNS
from genifer.evaluation.costs import tabulate_costs
from genifer.evaluation.tables import tabulate, tabulate_replay, tabulate_training
from genifer.layout import Layout, PlannedJob
from genifer.run_file import parse_settings
from genifer.runtime.tensors import save_tensors

SIZE = 8
IMAGES_PER_CLASS = 10
STATUS = {"device": "cpu", "machine": "A machine", "precision": "fp32", "threads": 4, "genifer": "1"}

CLASSIFIER_SCALARS = ("loss", "accuracy", "distillation")
GAN_SCALARS = ("g_loss", "d_loss", "r1", "sign_of_d_real", "ada_probability", "diversity", "ema_distance")


def made_up_run(folder: Path, **settings: Any) -> Layout:
    """Write the files of all jobs of a run below a folder, without checkpoints, and collect the tables."""
    stated = {"data": {"dataset": "image_folder", "archive": "images.zip"}} | settings
    layout = Layout(parse_settings(stated, "a test"), folder)
    for job in [*layout.evaluations, *layout.replay_evaluations, *layout.trainings]:
        _write_job(job, layout)
    settings_of_tables = layout.table_settings
    results = Path(layout.results)
    tabulate(results, **settings_of_tables["tabulate"])
    tabulate_replay(results, **settings_of_tables["tabulate_replay"])
    tabulate_training(results, **settings_of_tables["tabulate_training"])
    tabulate_costs(results, **settings_of_tables["tabulate_costs"])
    return layout


def write_data(layout: Layout, split: str = "test") -> list[Path]:
    """Write prepared images of all tasks, in the first seed's class order."""
    tasks, seed = layout.settings.scenario.tasks, layout.settings.seeds[0]
    description = {
        "kind": "data set",
        "tasks": tasks,
        "class_order": list(range(sum(tasks))),
        "class_names": [class_name(class_of(layout, seed, label)) for label in range(sum(tasks))],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    paths = [Path(path) for path in layout.data(split, layout.tasks, seed)]
    for task, path in enumerate(paths):
        labels = torch.arange(sum(tasks[:task]), sum(tasks[: task + 1])).repeat_interleave(IMAGES_PER_CLASS)
        shades = (labels * 7 % 256).to(torch.uint8)
        images = shades[:, None, None, None].expand(-1, 3, SIZE, SIZE)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, {"images": images, "labels": labels}, description | {"task": task})
    return paths


def class_name(number: int) -> str:
    return f"{number:03}" if number % 2 else f"a class named {number}"


def class_of(layout: Layout, seed: int, label: int) -> int:
    """The number of the class that a seed learns at a position."""
    scenario = layout.settings.scenario
    order = np.random.RandomState(seed).permutation(sum(scenario.tasks))
    return int(order[label]) if scenario.order_is_drawn else label


def _write_job(job: PlannedJob, layout: Layout) -> None:
    folder = Path(job.folder)
    folder.mkdir(parents=True)
    seconds = 10 * (job.task + 1) * (5 if "train" in job.name else 1)
    used = {"seconds": seconds, "cpu_seconds": 2 * seconds, "memory_mb": 512}
    (folder / "status.json").write_text(json.dumps(STATUS | used))
    if "metrics" in job.outputs:
        _write(folder / "metrics.csv", *_metrics(job))
    elif job.name == "evaluate":
        _write(folder / "accuracy.csv", COLUMNS, _accuracy(job, layout))
        _write(folder / "confusion.csv", CONFUSION_COLUMNS, _confusion(job, layout))
    elif job.name == "evaluate_replay":
        _write(folder / "replay.csv", REPLAY_COLUMNS, _replay(job, layout))


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)


def _correct(job: PlannedJob, eval_task: int) -> int:
    """Correct answers of a class's images: fewer with every task since its own, in its own way for each group."""
    skill = 1 + sum(map(ord, job.group)) % 3
    return max(0, IMAGES_PER_CLASS - skill * (job.task - eval_task) - (job.seed + eval_task) % 2)


def _classes(layout: Layout, task: int) -> range:
    tasks = layout.settings.scenario.tasks
    return range(sum(tasks[:task]), sum(tasks[: task + 1]))


def _accuracy(job: PlannedJob, layout: Layout) -> Iterable[Sequence[object]]:
    for eval_task in range(job.task + 1):
        n = len(_classes(layout, eval_task))
        share = _correct(job, eval_task) / IMAGES_PER_CLASS
        yield [
            *["ignored", job.seed, job.task, eval_task],
            *[n, n * IMAGES_PER_CLASS, n * _correct(job, eval_task), share],
        ]


def _confusion(job: PlannedJob, layout: Layout) -> Iterable[Sequence[object]]:
    for eval_task in range(job.task + 1):
        correct = _correct(job, eval_task)
        for label in _classes(layout, eval_task):
            about = [
                "ignored",
                job.seed,
                job.task,
                eval_task,
                label,
                class_name(class_of(layout, job.seed, label)),
            ]
            newest = _classes(layout, job.task)
            other = newest[label % len(newest)]
            other = other if other != label else max(label - 1, 0)
            for predicted, count in ((label, correct), (other, IMAGES_PER_CLASS - correct)):
                if count and (predicted != label or count == correct):
                    name = class_name(class_of(layout, job.seed, predicted))
                    yield [*about, predicted, name, count]


def _replay(job: PlannedJob, layout: Layout) -> Iterable[Sequence[object]]:
    for eval_task in range(job.task + 1):
        agreeing = _correct(job, eval_task)
        for label in _classes(layout, eval_task):
            about = [
                "ignored",
                job.seed,
                job.task,
                eval_task,
                label,
                class_name(class_of(layout, job.seed, label)),
            ]
            distance = 1 + label / 10 + job.task - eval_task
            share = agreeing / IMAGES_PER_CLASS
            shares = [share, 0.9, *((share / 2, 0.5) if "judge" in job.inputs else ("", "")), share]
            yield [*about, IMAGES_PER_CLASS, agreeing, *shares, distance, 0.5, 20 + label, 30]


def _metrics(job: PlannedJob) -> tuple[list[str], list[list[object]]]:
    scalars = GAN_SCALARS if job.name.endswith("_gan") else CLASSIFIER_SCALARS
    rows: list[list[object]] = []
    for step in range(10, 210, 10):
        values = [math.exp(-step * (index + 1) / 100) + job.task + job.seed for index in range(len(scalars))]
        rows.append([job.name, job.seed, job.task, step, *values])
    return ["job", "seed", "task", "step", *scalars], rows
