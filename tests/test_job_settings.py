"""What a job depends on, and gets from the workflow."""

from __future__ import annotations

import json

import pytest

from genifer.config import RunSettings, registry_of
from genifer.errors import GeniferError
from genifer.run_file import parse_settings
from genifer.versions import JOB_SETTINGS, job_settings, settings_from_job, settings_of_job


def test_every_setting_that_changes_results_belongs_to_a_job() -> None:
    registry = registry_of([])
    jobs = [*JOB_SETTINGS, *(f"train_{name}" for name in registry.methods)]
    covered = {key for job in jobs for key in settings_of_job(job, registry)}
    outside = {"run", "plugins", "methods", "seeds"}
    everything = set(RunSettings.model_fields) | set(registry.methods)
    assert everything - {key.split(".")[0] for key in covered} == outside
    assert {"runtime.precision", "runtime.deterministic"} <= covered


def test_a_job_gets_what_it_depends_on_and_no_more() -> None:
    run = parse_settings({"gan": {"generator_learning_rate": 0.5}, "joint": {"steps": 3}}, "test")
    passed = job_settings(run, "pretrain_gan")
    assert set(passed) == {"version", "generator", "discriminator", "gan", "pretrain_gan", "runtime"}
    assert passed["runtime"] == {"precision": "auto", "deterministic": False}
    seen = settings_from_job(json.dumps(passed), "pretrain_gan", {"device": "cpu"})
    assert seen.gan == run.gan
    assert seen.runtime.device == "cpu"
    assert seen.of_method(run.registry.method("joint")).steps != 3


def test_settings_of_another_version_are_refused() -> None:
    passed = job_settings(parse_settings({}, "test"), "train_gan") | {"version": 99}
    with pytest.raises(GeniferError, match="99"):
        settings_from_job(json.dumps(passed), "train_gan", {})


def test_settings_newer_than_results_reach_jobs_only_with_another_value() -> None:
    """So what was made before there was the setting stays valid."""
    plain = job_settings(parse_settings({}, "test"), "pretrain_classifier")
    assert "stem" not in plain["classifier"]
    assert settings_from_job(json.dumps(plain), "pretrain_classifier", {}).classifier.stem == "small"
    changed = job_settings(
        parse_settings({"classifier": {"stem": "imagenet"}}, "test"), "pretrain_classifier"
    )
    assert changed["classifier"]["stem"] == "imagenet"
    assert settings_from_job(json.dumps(changed), "pretrain_classifier", {}).classifier.stem == "imagenet"
