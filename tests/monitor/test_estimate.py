"""Hours and bytes of a run before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import TINY, merged

from genifer.config import RunSettings
from genifer.layout import PlannedJob
from genifer.monitor import estimate
from genifer.monitor.estimate import Timing, bytes_needed, time_needed, training_hours
from genifer.run_file import parse_settings
from genifer.settings import TrainingSettings

CPU = torch.device("cpu")
STEPS = {name: {"steps": 1000} for name in ("pretrain_classifier", "genifer", "finetune", "joint")} | {
    name: {"steps": 100} for name in ("pretrain_gan", "train_gan")
}

MEMORY_METHOD = """
import torch

from genifer.methods import Method


class Prototypes(Method):
    \"\"\"Nearest class mean.\"\"\"

    name = "prototypes"
    first_task = "memory"

    def finish(self):
        return {"seen": torch.ones(self.data.n_old + self.data.n_new)}
"""


def settings_of(**changes: Any) -> RunSettings:
    changes = {"runtime": {"device": "cpu", "threads": 1}, "methods": ["genifer"], **STEPS} | changes
    return parse_settings(merged(TINY, changes), "test")


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """One second per step of a GAN, a tenth per step of a classifier; no time to start a job."""
    calls = []

    def timing(job: PlannedJob, _: torch.device) -> Timing:
        calls.append((job.name, job.group, job.task))
        return Timing(1.0 if "gan" in job.checkpoint.rpartition("/")[2] else 0.1)

    monkeypatch.setattr(estimate, "_timing", timing)
    monkeypatch.setattr(estimate, "JOB_SECONDS", 0.0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    return calls


def test_equal_trainings_are_timed_once(timed: list[tuple[str, str, int]]) -> None:
    hours = training_hours(settings_of(scenario={"tasks": [4, 2, 2, 2]}), CPU)
    assert timed == [
        ("pretrain_classifier", "shared", 0),
        ("pretrain_gan", "shared", 0),
        ("train_genifer", "genifer", 1),
        ("train_gan", "genifer", 1),
    ]
    # Two trainings run at once, but these wait for each other: 4 of classifiers, 3 of GANs.
    assert 3600 * hours == pytest.approx(4 * 100 + 3 * 100)


@pytest.mark.usefixtures("timed")
def test_what_does_not_wait_runs_beside() -> None:
    chain = 100 + 2 * 100 + 2 * 100
    one_method = settings_of()
    assert 3600 * training_hours(one_method, CPU) == pytest.approx(chain)
    bounds = settings_of(methods=["genifer", "finetune", "joint"])
    assert 3600 * training_hours(bounds, CPU) == pytest.approx(chain)
    assert 3600 * training_hours(settings_of(seeds=[0, 1, 2]), CPU) == pytest.approx(3 * chain / 2)
    one_at_a_time = settings_of(runtime={"device": "auto"}, methods=["genifer", "finetune"])
    assert 3600 * training_hours(one_at_a_time, CPU) == pytest.approx(chain + 2 * 100)


@pytest.mark.usefixtures("timed")
def test_the_longest_training_of_each_rule() -> None:
    needed = time_needed(settings_of(methods=["finetune", "genifer"], scenario={"tasks": [4, 2, 2, 2]}), CPU)
    assert {rule: round(3600 * hours) for rule, hours in needed.longest.items()} == {
        "pretrain_classifier": 100,
        "pretrain_gan": 100,
        "train_finetune": 100,
        "train_genifer": 100,
        "train_gan": 100,
    }


def test_a_variant_is_timed_for_itself(timed: list[tuple[str, str, int]]) -> None:
    small = {"method": "genifer", "genifer": {"batch_size": 4}}
    training_hours(settings_of(methods={"genifer": {}, "small": small}), CPU)
    groups = [(name, group) for name, group, _ in timed]
    assert len(set(groups)) == len(groups)
    assert ("train_genifer", "genifer+genifer.batch_size=4") in groups
    assert [name for name, group in groups if group == "shared"] == ["pretrain_classifier", "pretrain_gan"]


def test_a_memory_of_the_first_task_takes_no_steps(timed: list[tuple[str, str, int]], tmp_path: Path) -> None:
    plugin = tmp_path / "prototypes.py"
    plugin.write_text(MEMORY_METHOD)
    settings = settings_of(plugins=[str(plugin)], methods=["prototypes"], prototypes={"steps": 1000})
    assert 3600 * training_hours(settings, CPU) == pytest.approx(100 + 2 * 100)
    assert [task for name, _, task in timed if name == "train_prototypes"] == [1]


def test_real_steps_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every built-in method, with its own teacher, generator and batch."""
    monkeypatch.setattr(estimate, "TIMED_SECONDS", 0.0)
    methods = settings_of().registry.methods
    training = [name for name, method in methods.items() if issubclass(method.Settings, TrainingSettings)]
    short = {name: {"steps": 1} for name in [*STEPS, *training]}
    assert 0 < training_hours(settings_of(methods=list(methods), **short), CPU) < 1


def test_an_inversion_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million steps of the inversion take hours, although none of the training's steps does."""
    monkeypatch.setattr(estimate, "TIMED_SECONDS", 0.0)
    short = {"steps": 1, "inversion_batch_size": 2}
    few, many = (
        time_needed(settings_of(methods=["abd"], abd=short | {"inversion_steps": count}), CPU)
        for count in (1, 1_000_000)
    )
    assert many.longest["train_abd"] > 100 * few.longest["train_abd"]
    assert many.longest["pretrain_classifier"] < 100 * few.longest["pretrain_classifier"]


def test_bytes() -> None:
    one = bytes_needed(settings_of())
    two = bytes_needed(settings_of(seeds=[0, 1]))
    images = 1_797 * 8 * 8
    assert one > images
    # Per seed: three classifiers and two GANs; resume files and images are there once.
    classifier = bytes_needed(settings_of(methods=["finetune"], seeds=[0, 1])) - bytes_needed(
        settings_of(methods=["finetune"])
    )
    assert classifier % 3 == 0
    assert two - one > classifier
    folder = {"dataset": "image_folder", "archive": "somewhere"}
    assert bytes_needed(settings_of(data=folder)) == one - images


def test_an_order_per_seed_needs_room_for_data_per_seed() -> None:
    one, drawn = (settings_of(seeds=[0, 1, 2], scenario={"class_order": order}) for order in (1993, "seed"))
    images = one.registry.dataset("digits").images
    assert images is not None
    assert bytes_needed(drawn) - bytes_needed(one) == 2 * images * 8 * 8
