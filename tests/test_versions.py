"""A job whose results change must raise its version: in genifer/versions.py, or that of the method."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.fingerprints import RUNS, Fingerprint, differences, take_fingerprint

from genifer.evaluation import tables
from genifer.nn import losses
from genifer.registry import registry
from genifer.training import gan
from genifer.versions import TRAIN, VERSIONS

RECORDED = Path(__file__).parent / "recorded_versions.json"

TRAININGS = {f"{TRAIN}{name}": method for name, method in registry().methods.items()}

JOBS = [*RUNS, *(name for name, method in TRAININGS.items() if method.source_hash is None)]
"""Jobs of the package; a method from elsewhere has the hash of its file for a guard."""


def version_of(job: str) -> int:
    return VERSIONS[job] if job in VERSIONS else TRAININGS[job].version


def recorded() -> dict[str, dict[str, Any]]:
    """For each job its version and the fingerprint of that version."""
    return json.loads(RECORDED.read_text()) if RECORDED.is_file() else {}


def record(job: str, fingerprint: Fingerprint) -> None:
    rounded = {name: [float(f"{value:.6g}") for value in values] for name, values in fingerprint.items()}
    everything = recorded() | {job: {"version": version_of(job), "fingerprint": rounded}}
    RECORDED.write_text(json.dumps(dict(sorted(everything.items())), indent=1) + "\n")


@pytest.mark.parametrize("job", JOBS)
def test_changed_results_have_a_raised_version(job: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    found = take_fingerprint(job, tmp_path)
    before = recorded().get(job, {"version": 0, "fingerprint": {}})
    version = version_of(job)
    if before["version"] == version:
        changed = differences(job, before["fingerprint"], found)
        where = "genifer/versions.py" if job in VERSIONS else TRAININGS[job].__module__
        assert not changed, (
            f"the results of {job} have changed, so what was made before is stale: raise its version in "
            f"{where}, then run: pytest tests/test_versions.py --record-versions\n" + "\n".join(changed)
        )
    elif pytestconfig.getoption("--record-versions"):
        record(job, found)
    else:
        pytest.fail(
            f"no results are recorded for version {version} of {job}: "
            "run: pytest tests/test_versions.py --record-versions"
        )


def test_every_training_has_a_fingerprint() -> None:
    assert {job for job in VERSIONS if job.startswith((TRAIN, "pretrain_"))} <= set(RUNS)
    assert set(recorded()) == set(JOBS)


Function = Callable[..., Any]


def scaled(factor: float) -> Callable[[Function], Function]:
    return lambda original: lambda *arguments, **named: original(*arguments, **named) * factor


def smoothed(_: Function) -> Function:
    def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.nll_loss(F.log_softmax(logits, 1), labels) + 0.05 * logits.square().mean()

    return cross_entropy


def with_one_more_image(original: Function) -> Function:
    return lambda accuracy: original(accuracy.assign(n_test=accuracy["n_test"] + 1))


@pytest.mark.parametrize(
    ("job", "module", "name", "change"),
    [
        ("train_genifer", losses, "output_distillation", scaled(1.1)),
        ("train_genifer", losses, "feature_distillation", scaled(1.1)),
        ("train_lwf", losses, "output_distillation", scaled(1.1)),
        ("pretrain_gan", gan, "ema_decay", scaled(0.7)),
        ("train_gan", gan, "ema_decay", scaled(0.7)),
        ("tabulate", tables, "incremental_accuracy", with_one_more_image),
        ("pretrain_classifier", losses.F, "cross_entropy", smoothed),
        ("train_joint", losses.F, "cross_entropy", smoothed),
    ],
)
def test_a_changed_formula_is_noticed(
    job: str,
    module: Any,
    name: str,
    change: Callable[[Function], Function],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, change(getattr(module, name)))
    assert differences(job, recorded()[job]["fingerprint"], take_fingerprint(job, tmp_path))
