"""Run files: what is refused and how, and the run files that come with the project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import yaml
from pydantic import BaseModel
from support.commands import ROOT

from genifer.config import registry_of
from genifer.errors import GeniferError
from genifer.run_file import default_run_file, load_settings, parse_settings
from genifer.settings_model import settings_model


def test_config_yaml_is_the_defaults() -> None:
    assert (ROOT / "config" / "config.yaml").read_text() == default_run_file(registry_of([])), (
        "run: make settings"
    )
    assert load_settings(ROOT / "config" / "config.yaml") == parse_settings({}, "defaults")


def test_quickstart_is_valid() -> None:
    settings = load_settings(ROOT / "config" / "quickstart.yaml")
    assert (settings.run, settings.data.dataset) == ("quickstart", "digits")


def test_a_block_states_only_what_differs() -> None:
    settings = parse_settings({"genifer": {"optimizer": {"learning_rate": 0.5}}}, "test")
    assert settings.genifer.optimizer.learning_rate == 0.5
    assert settings.genifer.optimizer.name == "radam"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"grid": "g", "axes": {}}, ["axes", "--snakefile workflow/grid.smk"]),
        ({"sedes": [1]}, ["sedes", "does not exist", "seeds"]),
        ({"gan": {"ada": {"targt": 0.5}}}, ["gan.ada.targt", "does not exist", "target"]),
        ({"gan": {"batch_size": 48}}, ["gan.batch_size", "48", "multiple of 32"]),
        ({"gan": {"matching_stage": 7}}, ["gan.matching_stage", "7", "at most 6"]),
        ({"genifer": {"steps": 0}}, ["genifer.steps", "0", "more than 0"]),
        ({"genifer": {"batch_size": 2, "replay_fraction": 0.1}}, ["genifer.replay_fraction", "no room"]),
        ({"data": {"image_size": 12}}, ["data.image_size", "12", "8, 16, 32, 64, 128 or 256"]),
        ({"data": {"mean": [0.5], "std": [0.5]}}, ["data.mean", "data.channels: 3"]),
        ({"data": {"dataset": "image_folder"}}, ["data.archive", "train/<class>"]),
        ({"data": {"dataset": "kaggle"}}, ["data.dataset", "kaggle", "cifar100"]),
        ({"scenario": {"tasks": [50, 40]}}, ["scenario.tasks", "90", "cifar100 has 100"]),
        ({"scenario": {"tasks": [2], "class_order": [3, 3]}}, ["scenario.class_order lists 3 twice"]),
        ({"scenario": {"tasks": [3], "class_order": [3, 4]}}, ["scenario.tasks", "class_order lists 2"]),
        ({"generator": {"channels": [8, 8]}}, ["generator.channels", "needs 8", "null"]),
        (
            {"data": {"image_size": 256}, "generator": {"channels": [8] * 8}},
            ["data.image_size: 256 it needs 14"],
        ),
        (
            {"classifier": {"pretrained": "imagenet", "width": 32}},
            ["classifier.pretrained: imagenet", "classifier.width: 64, not 32"],
        ),
        (
            {"classifier": {"pretrained": "a.pth"}, "data": {"channels": 1}},
            ["a.pth", "data.channels: 3, not 1"],
        ),
        (
            {"classifier": {"pretrained": "imagenet", "pretrained_stages": 1}},
            ["classifier.pretrained_stages: 1", "classifier.stem: small"],
        ),
        ({"classifier": {"stem": "large"}}, ["classifier.stem", "'large'", "'small' or 'imagenet'"]),
        ({"methods": ["genifer", "icarl"]}, ["methods.icarl", "'icarl' is not known", "finetune", "plugins"]),
        ({"methods": {"mine": {"method": "icarl"}}}, ["methods.mine", "'icarl' is not known", "finetune"]),
        ({"methods": {"mine": {}}}, ["methods.mine", "'mine' is not known"]),
        ({"methods": {"A": {"method": "lwf"}, "a": {"method": "joint"}}}, ["'A' and 'a'", "case"]),
        ({"methods": {"../up": {"method": "lwf"}}}, ["methods", "'../up'", "letters"]),
        ({"methods": {"shared": {"method": "lwf"}}}, ["methods", "'shared'", "rename"]),
        ({"methods": {"a": {"method": "lwf"}, "gan_a": {"method": "lwf"}}}, ["'gan_a'", "rename"]),
        ({"methods": {"joint": {"method": "lwf"}}}, ["methods", "'joint'", "'lwf'", "rename"]),
        ({"methods": {"a": {"method": "lwf", "lwf": {"stepz": 1}}}}, ["methods.a", "lwf.stepz", "steps"]),
        ({"methods": {"a": {"method": "lwf", "lwf": {"steps": 0}}}}, ["methods.a", "lwf.steps", "0"]),
        ({"methods": {"a": {"method": "lwf", "joint": {"steps": 1}}}}, ["methods.a", "joint", "lwf"]),
        ({"methods": {"a": {"method": "lwf", "data": {"channels": 1}}}}, ["methods.a", "data", "classifier"]),
        ({"methods": {"a": {"method": "lwf", "lwf": 3}}}, ["methods.a", "lwf", "3"]),
        ({"methods": {"a": 3}}, ["methods", "a: 3", "method: genifer"]),
        (
            {"methods": {"a": {"method": "genifer", "gan": {"batch_size": 48}}}},
            ["methods.a", "gan.batch_size", "48"],
        ),
        ({"methods": 3}, ["methods", "3", "list"]),
        ({"methods": {}}, ["methods", "at least one"]),
        ({"methods": ["lwf", 3]}, ["methods", "'lwf', 3", "list"]),
        ({"methods": [{"a": {"method": "lwf"}}, "a"]}, ["methods lists a twice", "another label"]),
        ({"methods": ["lwf", {"a": 3}]}, ["methods", "a: 3", "method: genifer"]),
        ({"classifier.width": 16}, ["classifier.width", "classifier={width: ...}"]),
        ({"classifier": {"readout_bias": True}}, ["classifier.readout_bias", "classifier.head_bias"]),
        ({"plugins": "my.py"}, ["plugins", "'my.py'", "list"]),
        ({"data": {"dataset": "digits", "archive": "a.zip"}}, ["data.archive", "digits", "null"]),
        ({"seeds": [1, 1]}, ["seeds lists 1 twice"]),
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
        (
            {"start": {"classifier": "c"}, "scenario": {"class_order": "seed"}, "seeds": [0, 1]},
            ["scenario.class_order: seed", "start.classifier", "null"],
        ),
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


@pytest.mark.parametrize("value", ["?", -1e9, float("nan"), [[]], {"a": 1}, None])
def test_what_is_refused_is_told_in_words_of_the_project(value: object) -> None:
    """Of every setting, and never in those of the library that checks it."""
    for names in _settings(settings_model(registry_of([]))):
        content: object = value
        for name in reversed(names):
            content = {name: content}
        try:
            parse_settings(cast("dict[str, object]", content), "run.yaml")
        except GeniferError as refusal:
            message = str(refusal)
            assert names[0] in message
            assert not re.search(r"Input should|Value error|unable to|constrained-|function-|\n", message), (
                message
            )


def _settings(block: type[BaseModel], *outer: str) -> Iterator[tuple[str, ...]]:
    for name, field in block.model_fields.items():
        yield (*outer, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, *outer, name)


@pytest.mark.parametrize("text", ["run: [", "- a\n- b\n", "\x00"])
def test_run_files_that_are_no_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(GeniferError, match=r"run\.yaml"):
        load_settings(path)


def test_a_missing_run_file(tmp_path: Path) -> None:
    with pytest.raises(GeniferError, match="quickstart"):
        load_settings(tmp_path / "none.yaml")


def test_a_data_set_brings_its_own_normalisation() -> None:
    """null takes the first task's, and so does a data set that brings none."""
    assert parse_settings({}, "test").data.mean == [0.507, 0.487, 0.441]
    assert parse_settings({"data": {"mean": None, "std": None}}, "test").data.mean is None
    digits = {"data": {"dataset": "digits", "channels": 1}, "scenario": {"tasks": [5, 5]}}
    assert parse_settings(digits, "test").data.mean is None
    assert parse_settings({"data": {"channels": 1}}, "test").data.std is None


def test_variants_have_settings_of_their_own() -> None:
    own = {"small": {"method": "lwf", "lwf": {"steps": 3, "optimizer": {"momentum": 0.5}}}, "lwf": None}
    settings = parse_settings({"methods": own, "lwf": {"steps": 7}}, "test")
    small, plain = settings.variants
    assert (small.label, small.method.name, small.block.steps) == ("small", "lwf", 3)
    assert small.block.optimizer.momentum == 0.5
    assert small.block.optimizer.learning_rate == plain.block.optimizer.learning_rate
    assert (plain.label, plain.block.steps) == ("lwf", 7)


def test_a_list_may_contain_variants() -> None:
    own = {"method": "lwf", "lwf": {"steps": 3}}
    listed = parse_settings({"methods": ["genifer", {"short": own}]}, "test")
    assert listed.methods == parse_settings({"methods": {"genifer": {}, "short": own}}, "test").methods
    assert listed.variant("short").block.steps == 3


def test_on_and_off_are_words_here() -> None:
    """YAML reads them as true and false."""
    assert parse_settings(yaml.safe_load("runtime: {compile: off}"), "test").runtime.compile == "off"


def test_an_unknown_key_that_looks_like_a_type_is_named() -> None:
    with pytest.raises(GeniferError, match=r"test: list\[int\] does not exist"):
        parse_settings({"list[int]": 1}, "test")
