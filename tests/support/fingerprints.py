"""Fingerprints of jobs: numbers from a few steps on made-up inputs that show whether results have changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from genifer.config import RunSettings
from genifer.data.prepare import prepare_data
from genifer.evaluation import CONFUSION_COLUMNS
from genifer.evaluation.accuracy import evaluate
from genifer.evaluation.replay import evaluate_replay
from genifer.evaluation.tables import tabulate
from genifer.layout import seed_folder
from genifer.methods.method import Method
from genifer.nn.classifier import Classifier
from genifer.registry import registry
from genifer.run_file import parse_settings
from genifer.runtime.tensors import save_tensors
from genifer.settings import TrainingSettings
from genifer.training.checkpoints import save_classifier, save_gan
from genifer.training.classifier import pretrain_classifier, train_task
from genifer.training.gan import pretrain_gan, train_gan
from genifer.training.job import Job
from genifer.training.networks import new_gan
from genifer.versions import TRAIN
from support.commands import merged

Fingerprint = dict[str, list[float]]

TASKS = (3, 2)
SETTINGS: dict[str, Any] = {
    "data": {"dataset": "digits", "image_size": 16, "channels": 1, "mean": None, "std": None},
    "scenario": {"tasks": [5, 5]},
    "classifier": {"width": 8},
    "generator": {"latent_dim": 8, "embedding_dim": 4, "style_dim": 8, "channels": [16, 16, 16, 16, 8, 8]},
    "discriminator": {"width": 4},
    "pretrain_classifier": {"steps": 3, "optimizer": {"learning_rate": 0.001}},
    "abd": {"inversion_steps": 3, "inversion_batch_size": 8},
    "rdfcil": {"inversion_steps": 3, "inversion_batch_size": 8},
    "genifer": {"batch_size": 64},
    # So that each part of the step has a share in three steps of it.
    "gan": {
        "batch_size": 32,
        "r1_gamma": 50.0,
        "r1_interval": 2,
        "ema_half_life": 64,
        "generator_learning_rate": 0.02,
        "ada": {"mode": "adaptive", "probability": 0.5, "interval": 2, "full_range_steps": 100},
    },
    "pretrain_gan": {"steps": 3, "ema_rampup_steps": 2},
    "train_gan": {"steps": 3, "ema_rampup_steps": 2},
}
METHOD = {"steps": 3, "optimizer": {"learning_rate": 0.001}}
"""In the block of every method."""
SIZE = SETTINGS["data"]["image_size"]
MEAN, STD = [0.5], [0.25]
PROJECTIONS = 16
TOLERANCE = 1e-2
TOLERANCE_OF_WEIGHTS = 2e-3
TOLERANCE_OF_ARITHMETIC = 1e-5
"""Relative root mean square differences. Other instruction sets (SSE, AVX2, without oneDNN) gave up to
2e-3 in the scalars of trainings and 9e-4 in weights."""


def differences(job: str, recorded: Fingerprint, found: Fingerprint) -> list[str]:
    """What differs by more than another processor's rounding."""
    if set(recorded) != set(found):
        return [f"{name}: only in one" for name in sorted(set(recorded) ^ set(found))]
    messages = []
    for name, values in recorded.items():
        before, now = np.array(values), np.array(found[name])
        if job in ("prepare_data", "tabulate"):
            tolerance = TOLERANCE_OF_ARITHMETIC
        else:
            tolerance = TOLERANCE_OF_WEIGHTS if name.startswith("weights") else TOLERANCE
        if before.shape != now.shape or _rms(now - before) > tolerance * _rms(before):
            messages.append(f"{name}: {before[:4]} before, {now[:4]} now")
    return messages


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def take_fingerprint(job: str, folder: Path) -> Fingerprint:
    """Run a few steps of a job on one thread of the CPU.

    Its inputs do not come from other jobs, so that a changed job changes its own fingerprint and no other's.
    """
    methods = registry().methods
    training = [name for name, method in methods.items() if issubclass(method.Settings, TrainingSettings)]
    changes = dict(SETTINGS)
    if job not in RUNS:
        name = job.removeprefix(TRAIN)
        changes = merged(changes, {"methods": [name], **methods[name].blocks})
    settings = parse_settings(merged(dict.fromkeys(training, METHOD), changes), "fingerprint")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        if job in RUNS:
            return RUNS[job](folder, settings)
        return _train_task(folder, settings, methods[job.removeprefix(TRAIN)])
    finally:
        torch.set_num_threads(threads)


def _prepare_data(folder: Path, settings: RunSettings) -> Fingerprint:
    dataset = settings.registry.dataset(settings.data.dataset)
    prepare_data(dataset, settings.data, settings.scenario, None, folder)
    return {path.stem: _projections(load_file(path)) for path in sorted(folder.glob("*.safetensors"))}


def _pretrain_classifier(folder: Path, settings: RunSettings) -> Fingerprint:
    job = _job("pretrain_classifier", 0, folder)
    pretrain_classifier(job, settings.classifier, settings.pretrain_classifier, [_images(folder, 0)])
    return _of_training(folder, "classifier")


def _pretrain_gan(folder: Path, settings: RunSettings) -> Fingerprint:
    pretrain_gan(
        _job("pretrain_gan", 0, folder),
        settings.generator,
        settings.discriminator,
        settings.gan,
        settings.pretrain_gan,
        [_images(folder, 0)],
        _classifier(folder, settings, 0),
    )
    return _of_training(folder, "gan")


def _train_task(folder: Path, settings: RunSettings, method: type[Method]) -> Fingerprint:
    """Learn task 1, from the memory of task 0 if the method has one."""
    classifier = _classifier(folder, settings, 0)
    if method.first_task == "memory":
        train_task(
            _job(f"{TRAIN}{method.name}", 0, folder / "first"),
            method,
            settings.of_method(method),
            settings.classifier,
            [_images(folder, 0)],
            classifier,
            None,
        )
        classifier = folder / "first" / "job" / "classifier.safetensors"
    train_task(
        _job(f"{TRAIN}{method.name}", 1, folder),
        method,
        settings.of_method(method),
        settings.classifier,
        [_images(folder, task) for task in ([0, 1] if method.images == "so_far" else [1])],
        classifier,
        _gan(folder, settings) if method.uses_gan else None,
    )
    return _of_training(folder, "classifier")


def _train_gan(folder: Path, settings: RunSettings) -> Fingerprint:
    train_gan(
        _job("train_gan", 1, folder),
        settings.gan,
        settings.train_gan,
        [_images(folder, 1)],
        _classifier(folder, settings, 1),
        _gan(folder, settings),
    )
    return _of_training(folder, "gan")


def _evaluate(folder: Path, settings: RunSettings) -> Fingerprint:
    images = [_images(folder, 0), _images(folder, 1)]
    classifier, cpu = _classifier(folder, settings, 1), torch.device("cpu")
    evaluate(settings.evaluation, "a", 0, classifier, images, folder, cpu, settings.registry)
    return _of_table(folder / "accuracy.csv") | _of_table(folder / "confusion.csv")


def _evaluate_replay(folder: Path, settings: RunSettings) -> Fingerprint:
    """Compare with the training images themselves in place of held-out ones."""
    images, output = [_images(folder, 0), _images(folder, 0, split="test")], folder / "evaluation"
    gan, classifier = _gan(folder, settings), _classifier(folder, settings, 0)
    evaluate_replay(settings.evaluation, "a", 0, gan, classifier, images, output, torch.device("cpu"))
    return _of_table(output / "replay.csv")


def _tabulate(folder: Path, _: RunSettings) -> Fingerprint:
    columns = ["method", "seed", "after_task", "eval_task", "n_classes", "n_test", "n_correct"]
    right = iter(range(17, 200, 7))
    rows = [
        ["a", seed, after, on, 2, 200 - 10 * on, next(right)]
        for seed in (0, 1)
        for after in (0, 1, 2)
        for on in range(after + 1)
    ]
    accuracy = pd.DataFrame(rows, columns=columns)
    accuracy["accuracy"] = accuracy["n_correct"] / accuracy["n_test"]
    confusion = pd.DataFrame(
        [["a", seed, 1, 0, 0, "a", predicted, "b", 3 + predicted] for seed in (0, 1) for predicted in (0, 1)],
        columns=CONFUSION_COLUMNS,
    )
    for seed in (0, 1):
        place = Path(seed_folder(folder, seed), "rows")
        place.mkdir(parents=True)
        for name, table in (("accuracy", accuracy), ("confusion", confusion)):
            table[table["seed"] == seed].to_csv(place / f"{name}.csv", index=False)
    variants = {"a": {"old_images": "none", "places": ["rows"]}}
    tabulate(folder, [0, 1], variants, {"a": {}}, "1993")
    return _of_table(folder / "summary.csv") | _of_table(folder / "accuracy.csv")


RUNS: dict[str, Callable[[Path, RunSettings], Fingerprint]] = {
    "prepare_data": _prepare_data,
    "pretrain_classifier": _pretrain_classifier,
    "pretrain_gan": _pretrain_gan,
    "train_gan": _train_gan,
    "evaluate": _evaluate,
    "evaluate_replay": _evaluate_replay,
    "tabulate": _tabulate,
}
"""The jobs that have a fingerprint, besides the training of every method."""


def _job(name: str, task: int, folder: Path) -> Job:
    return Job(name, 0, task, folder / "job", torch.device("cpu"), "fp32")


def _images(folder: Path, task: int, split: str = "train") -> Path:
    generator = torch.Generator().manual_seed(task)
    first = sum(TASKS[:task])
    labels = torch.arange(first, first + TASKS[task]).repeat_interleave(20)
    images = torch.randint(256, (len(labels), 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    description = {
        "kind": "data set",
        "split": split,
        "task": task,
        "tasks": list(TASKS),
        "class_order": list(range(sum(TASKS))),
        "class_names": [str(label) for label in range(sum(TASKS))],
        "mean": MEAN,
        "std": STD,
    }
    path = folder / f"images_{task}_{split}.safetensors"
    save_tensors(path, {"images": images, "labels": labels}, description)
    return path


def _classifier(folder: Path, settings: RunSettings, task: int) -> Path:
    path = folder / "given" / "classifier.safetensors"
    save_classifier(path, _made_up_classifier(settings, task), task, MEAN, STD)
    return path


def _made_up_classifier(settings: RunSettings, task: int) -> Classifier:
    network = settings.classifier
    classifier = Classifier(network.architecture, network.width, 1, sum(TASKS[: task + 1]))
    _fill(classifier, lambda weight: math.sqrt(2 / weight[0].numel()))
    return classifier


def _gan(folder: Path, settings: RunSettings) -> Path:
    generator, discriminator = new_gan(
        settings.gan,
        settings.generator,
        settings.discriminator,
        _made_up_classifier(settings, 0),
        sum(TASKS),
        torch.zeros(1, 1, SIZE, SIZE),
    )
    _fill(generator, lambda _: 1.0)
    _fill(discriminator, lambda _: 1.0)
    path = folder / "given" / "gan.safetensors"
    save_gan(path, generator, discriminator, TASKS[0], 0.5)
    return path


@torch.no_grad()
def _fill(module: nn.Module, scale: Callable[[Tensor], float]) -> None:
    """Weights that no change of an initialisation changes."""
    generator = torch.Generator().manual_seed(7)
    for _, parameter in sorted(module.named_parameters()):
        if parameter.dim() > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale(parameter))


def _of_training(folder: Path, checkpoint: str) -> Fingerprint:
    """The scalars of every step (but counts, which jump), and projections of the weights."""
    metrics = pd.read_csv(folder / "job" / "metrics.csv")
    metrics = metrics.drop(columns=["job", "seed", "task", "step"])
    metrics = metrics.drop(columns=["accuracy", "sign_of_d_real"], errors="ignore")
    scalars = {str(name): column.dropna().tolist() for name, column in metrics.items()}
    weights = load_file(folder / "job" / f"{checkpoint}.safetensors")
    by_part: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        if tensor.dim() < 2:
            # The gradient of a bias before a normalisation is nought but rounding, which Adam blows up.
            continue
        # The mapping's weights are a hundred times as large as the others.
        part = "mapping" if ".mapping." in name else name.split(".")[0] if checkpoint == "gan" else checkpoint
        by_part.setdefault(f"weights of the {part}", {})[name] = tensor
    return scalars | {part: _projections(tensors) for part, tensors in by_part.items()}


def _projections(tensors: dict[str, Tensor]) -> list[float]:
    """Random projections, each about as large as the root mean square of the values."""
    values = np.concatenate([tensors[name].double().numpy().ravel() for name in sorted(tensors)])
    random = np.random.default_rng(0)
    return [
        float(random.standard_normal(len(values)) @ values / math.sqrt(len(values)))
        for _ in range(PROJECTIONS)
    ]


def _of_table(path: Path) -> Fingerprint:
    table = pd.read_csv(path).select_dtypes("number")
    return {f"{path.stem}: {name}": column.fillna(-1.0).tolist() for name, column in table.items()}
