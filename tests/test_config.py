"""Settings: what is refused and how, what a stage sees, and the run files that come with the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from genifer.config import (
    RECIPES,
    STAGE_SETTINGS,
    RunSettings,
    load_settings,
    parse_settings,
    settings_from_slice,
    stage_settings,
)
from genifer.defaults import default_run_file
from genifer.errors import GeniferError

ROOT = Path(__file__).parents[1]


def test_config_yaml_is_the_defaults() -> None:
    assert (ROOT / "config" / "config.yaml").read_text() == default_run_file(), "run: make settings"
    assert load_settings(ROOT / "config" / "config.yaml") == RunSettings()


def test_quickstart_is_valid() -> None:
    settings = load_settings(ROOT / "config" / "quickstart.yaml")
    assert (settings.run, settings.data.dataset) == ("quickstart", "digits")


def test_a_block_states_only_what_differs() -> None:
    settings = parse_settings({"genifer": {"optimizer": {"learning_rate": 0.5}}}, "test")
    assert settings.genifer.optimizer.learning_rate == 0.5
    assert settings.genifer.optimizer.name == RunSettings().genifer.optimizer.name == "radam"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"sedes": [1]}, ["sedes", "does not exist", "seeds"]),
        ({"gan": {"ada": {"targt": 0.5}}}, ["gan.ada.targt", "does not exist", "target"]),
        ({"gan": {"batch_size": 48}}, ["gan.batch_size", "48", "multiple of 32"]),
        ({"gan": {"matching_stage": 7}}, ["gan.matching_stage", "7", "less than or equal to 6"]),
        ({"genifer": {"steps": 0}}, ["genifer.steps", "0", "greater than 0"]),
        ({"genifer": {"batch_size": 2, "replay_fraction": 0.1}}, ["genifer.replay_fraction", "no room"]),
        ({"data": {"image_size": 12}}, ["data.image_size", "12", "8, 16, 32, 64 or 128"]),
        ({"data": {"mean": [0.5], "std": [0.5]}}, ["data.mean", "data.channels: 3"]),
        ({"data": {"dataset": "image_folder"}}, ["data.archive", "train/<class>"]),
        ({"data": {"dataset": "cub200"}}, ["data.dataset", "cub200", "cifar100"]),
        ({"scenario": {"tasks": [50, 40]}}, ["scenario.tasks", "90", "cifar100 has 100"]),
        ({"scenario": {"tasks": [2], "class_order": [3, 3]}}, ["scenario.class_order", "twice", "3"]),
        ({"scenario": {"tasks": [3], "class_order": [3, 4]}}, ["scenario.tasks", "class_order lists 2"]),
        ({"generator": {"channels": [8, 8]}}, ["generator.channels", "needs 8"]),
        ({"methods": ["genifer", "icarl"]}, ["methods.1", "icarl", "finetune"]),
        ({"seeds": [1, 1]}, ["seeds", "twice"]),
        ({"run": "../elsewhere"}, ["run", "../elsewhere"]),
        ({"run": "downloads"}, ["run", "downloads"]),
        ({"evaluation": {"split": "validation"}}, ["evaluation.split", "data.validation_fraction"]),
        ({"runtime": {"device": "tpu"}}, ["runtime.device", "tpu", "cuda"]),
        ({"plots": {"palette": "rainbow"}}, ["plots.palette", "rainbow", "colorblind"]),
        ({"gan": 3}, ["gan", "3"]),
        ({"gan": {"ada": {"mode": "fixed"}}}, ["gan.ada.mode: fixed", "gan.ada.probability"]),
        ({"gan": {"matching_mode": "direct"}}, ["gan.ada.mode: adaptive", "direct", "none"]),
        (
            {"gan": {"matching_mode": "direct", "ada": {"mode": "none"}}},
            ["genifer.feature_distillation_stage: 4", "stage 4", "new_apart"],
        ),
        (
            {
                "gan": {"matching_mode": "direct", "ada": {"mode": "none"}},
                "genifer": {"feature_distillation": "new"},
                "train_gan": {"distillation_stage": 2},
            },
            ["train_gan.distillation_stage: 2", "stage 4"],
        ),
        (
            {"scenario": {"tasks": [1, 99]}, "genifer": {"replay_fraction": "adaptive", "batch_size": 32}},
            ["genifer.replay_fraction: adaptive", "1 old and 99 new"],
        ),
        ({"genifer": {"replay_fraction": 1.0}}, ["genifer.replay_fraction", "1.0"]),
        ({"start": {"gan": "gan.safetensors"}}, ["start.classifier is missing", "start.gan"]),
        ({"start": {"task": 9, "classifier": "c"}}, ["start.task: 9", "0 to 5"]),
        ({"start": {"task": 2, "classifier": "c"}}, ["start.gan is missing", "task 3"]),
        (
            {"genifer": {"optimizer": {"schedule": "cosine"}}},
            ["genifer.optimizer.schedule", "cosine", "plateau"],
        ),
    ],
)
def test_what_is_refused_is_named(content: dict[str, object], words: list[str]) -> None:
    with pytest.raises(GeniferError) as refusal:
        parse_settings(content, "run.yaml")
    message = str(refusal.value)
    assert message.startswith("run.yaml: ")
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("text", ["run: [", "- a\n- b\n", "\x00"])
def test_run_files_that_are_no_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(GeniferError, match=r"run\.yaml"):
        load_settings(path)


def test_a_missing_run_file(tmp_path: Path) -> None:
    with pytest.raises(GeniferError, match="quickstart"):
        load_settings(tmp_path / "none.yaml")


def test_every_setting_that_changes_results_belongs_to_a_stage() -> None:
    covered = {key for keys in STAGE_SETTINGS.values() for key in keys}
    outside = {"run", "methods", "seeds", "runtime"}
    missing = set(RunSettings.model_fields) - {key.split(".")[0] for key in covered} - outside
    assert not missing
    assert "runtime.precision" in covered
    assert set(RECIPES) == set(STAGE_SETTINGS)


def test_a_stage_gets_its_slice_and_no_more() -> None:
    settings = parse_settings({"gan": {"generator_learning_rate": 0.5}, "joint": {"steps": 3}}, "test")
    slice_ = stage_settings(settings, "pretrain_gan")
    assert set(slice_) == {"recipe", "generator", "discriminator", "gan", "pretrain_gan", "runtime"}
    assert slice_["runtime"] == {"precision": "auto", "deterministic": False}
    seen = settings_from_slice(json.dumps(slice_), "pretrain_gan")
    assert seen.gan == settings.gan
    assert seen.joint == RunSettings().joint


def test_a_slice_of_another_recipe_is_refused() -> None:
    slice_ = stage_settings(RunSettings(), "train_gan") | {"recipe": 99}
    with pytest.raises(GeniferError, match="99"):
        settings_from_slice(json.dumps(slice_), "train_gan")


def test_environment_yml_agrees_with_pyproject() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "genifer"
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert sorted(pip) == sorted(project["dependencies"])
    assert f"python{project['requires-python']}" in environment["dependencies"]


def test_constraints_lie_within_pyproject() -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            pinned[canonicalize_name(name)] = version
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text
