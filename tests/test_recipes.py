"""A stage whose results change has to raise its recipe's version (genifer/recipes.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fingerprints import RUNS, Fingerprint, differences, take_fingerprint

import genifer.evaluation.tables
import genifer.training.gan
import genifer.training.genifer
import genifer.training.supervised
from genifer.recipes import RECIPES

RECORDED = Path(__file__).parent / "recorded_recipes.json"


def recorded() -> dict[str, dict[str, Any]]:
    """For each stage its recipe's version and the fingerprint it gave."""
    return json.loads(RECORDED.read_text()) if RECORDED.is_file() else {}


def record(stage: str, fingerprint: Fingerprint) -> None:
    rounded = {name: [float(f"{value:.6g}") for value in values] for name, values in fingerprint.items()}
    everything = recorded() | {stage: {"recipe": RECIPES[stage], "fingerprint": rounded}}
    RECORDED.write_text(json.dumps(dict(sorted(everything.items())), indent=1) + "\n")


@pytest.mark.parametrize("stage", RUNS)
def test_changed_results_have_a_raised_recipe(
    stage: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    found = take_fingerprint(stage, tmp_path)
    before = recorded().get(stage, {"recipe": 0, "fingerprint": {}})
    if before["recipe"] == RECIPES[stage]:
        changed = differences(stage, before["fingerprint"], found)
        assert not changed, (
            f"the results of {stage} have changed, so what was made before is stale: raise '{stage}' in "
            "genifer/recipes.py, then run: pytest tests/test_recipes.py --record-recipes\n"
            + "\n".join(changed)
        )
    elif pytestconfig.getoption("--record-recipes"):
        record(stage, found)
    else:
        pytest.fail(
            f"no results are recorded for recipe {RECIPES[stage]} of {stage}: "
            "run: pytest tests/test_recipes.py --record-recipes"
        )


def test_all_trainings_are_guarded() -> None:
    assert {stage for stage in RECIPES if "train" in stage} - {"tabulate_training"} <= set(RUNS)


def scaled(function: Callable[..., Any], factor: float) -> Callable[..., Any]:
    return lambda *arguments, **named: function(*arguments, **named) * factor


def smoothed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.nll_loss(F.log_softmax(logits, 1), labels) + 0.05 * logits.square().mean()


@pytest.mark.parametrize(
    ("stage", "module", "name", "factor"),
    [
        ("train_genifer", genifer.training.genifer, "output_distillation", 1.1),
        ("train_genifer", genifer.training.genifer, "feature_distillation", 1.1),
        ("pretrain_gan", genifer.training.gan, "ema_decay", 0.7),
        ("train_gan", genifer.training.gan, "ema_decay", 0.7),
        ("tabulate", genifer.evaluation.tables, "incremental_accuracy", None),
        ("pretrain_classifier", genifer.training.supervised.F, "cross_entropy", None),
        ("train_joint", genifer.training.supervised.F, "cross_entropy", None),
    ],
)
def test_a_changed_formula_is_noticed(
    stage: str, module: Any, name: str, factor: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(module, name)
    if factor is not None:
        changed = scaled(original, factor)
    elif name == "cross_entropy":
        changed = smoothed
    else:
        changed = lambda accuracy: original(accuracy.assign(n_test=accuracy["n_test"] + 1))  # noqa: E731
    monkeypatch.setattr(module, name, changed)
    assert differences(stage, recorded()[stage]["fingerprint"], take_fingerprint(stage, tmp_path))
