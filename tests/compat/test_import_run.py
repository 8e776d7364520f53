"""Configs and checkpoints of the published code become a run file and checkpoints of this project."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.published_code import CONFIGS, published_states, write_published_config

from genifer.run_file import load_settings
from genifer.training.checkpoints import load_classifier, load_gan

Genifer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkpoints(tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for name, state in published_states().items():
        paths[name] = tmp_path / f"{name}.pt"
        torch.save(state, paths[name])
    return paths


def test_the_published_configs_are_the_defaults(genifer: Genifer, tmp_path: Path) -> None:
    """All three, with unused keys named: what is left is what a config says of its run."""
    configs = [
        argument for name in CONFIGS for argument in ("--config", write_published_config(tmp_path, name))
    ]
    done = genifer("import-reference", *configs, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "out" / "run.yaml").read_text()) == {
        "run": "CIFAR100_T10",
        "methods": ["genifer"],
        "seeds": [1212],
    }
    assert (
        "incremental.json: no effect in the published code: cl_params.method.max_coefficient" in done.stderr
    )
    assert "unknown" not in done.stderr
    assert "dataset_path" in done.stderr


def imported(genifer: Genifer, folder: Path, name: str, **changes: Any) -> tuple[Any, str]:
    done = genifer(
        "import-reference",
        "--config",
        write_published_config(folder, name, **changes),
        "--output",
        folder / "out",
    )
    assert done.returncode == 0, done.stderr
    return load_settings(folder / "out" / "run.yaml"), done.stderr


def test_every_option_has_its_place(genifer: Genifer, tmp_path: Path) -> None:
    settings, notes = imported(
        genifer,
        tmp_path,
        "incremental",
        method__prev_curr_ratio="adaptive",
        method__out_distill_loss="KL",
        method__temperature=2.0,
        method__feat_dist_loss_type="onlycurr_single_L1",
        method__feat_dist_layer="stage3",
        method__freeze_bn=True,
        method__freeze_layers=True,
        method__gan_augmentation=False,
        method__feat_matching_layer="stage3",
        method__n_critic=2,
        method__ema_hl=10,
        method__dis_augmentation_ada=False,
        method__dis_augmentation_p=0.2,
        method__gen_dist_loss="L2",
        method__gen_dist_layer="stage2",
        method__gen_dist_ada=False,
        method__reinit_gen=True,
        method__reinit_disc=True,
        method__temprature=3.0,
        train_params__optimizer="Adam",
        train_params__scheduler="plateau",
        train_params__weight_decay=0.001,
        model_params__n_layers=34,
        model_params__bias=False,
    )
    genifer_, gan, train_gan = settings.genifer, settings.gan, settings.train_gan
    assert (genifer_.replay_fraction, genifer_.output_distillation, genifer_.temperature) == (
        "adaptive",
        "KL",
        2.0,
    )
    assert (genifer_.feature_distillation, genifer_.feature_distillation_norm) == ("new_apart", "L1")
    assert (genifer_.feature_distillation_stage, genifer_.frozen_stages) == (3, 3)
    assert (genifer_.freeze_old_batch_norm, genifer_.augment_replay) == (True, False)
    assert (gan.matching_stage, gan.critic_steps, gan.ema_half_life) == (3, 2, 10_000)
    assert (gan.ada.mode, gan.ada.probability) == ("fixed", 0.2)
    assert (train_gan.distillation_loss, train_gan.distillation_stage) == ("L2", 2)
    assert not train_gan.distillation_grows
    assert train_gan.reinitialize_generator
    assert train_gan.reinitialize_discriminator
    assert (genifer_.optimizer.name, genifer_.optimizer.schedule) == ("adam", "plateau")
    assert genifer_.optimizer.weight_decay == 0.001
    assert (settings.classifier.architecture, settings.classifier.head_bias) == ("resnet34", False)
    assert "cl_params.method.temprature: 3.0: unknown key, not imported" in notes
    assert "temprature" in (tmp_path / "out" / "run.yaml").read_text()


@pytest.mark.parametrize(
    ("scheduler", "schedule"), [("lambda", "linear"), ("exponential", "exponential"), (None, "constant")]
)
def test_schedules(genifer: Genifer, tmp_path: Path, scheduler: str | None, schedule: str) -> None:
    settings, _ = imported(
        genifer,
        tmp_path,
        "classifier",
        train_params__scheduler=scheduler or "multistep",
        train_params__use_scheduler=scheduler is not None,
        train_params__train_feature_extractor=False,
        train_params__n_epochs=10,
    )
    assert settings.pretrain_classifier.optimizer.schedule == schedule
    assert settings.pretrain_classifier.optimizer.epochs == 10
    assert settings.pretrain_classifier.steps == 7810
    assert settings.pretrain_classifier.frozen_stages == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_params__dataset_name": "CUB200"}, ["data_params.dataset_name", "CUB200", "CIFAR100"]),
        ({"train_params__optimizer": "Lion"}, ["train_params.optimizer", "Lion", "RAdam"]),
        ({"method__feat_dist_layer": "stage9"}, ["cl_params.method.feat_dist_layer", "stage9", "stage6"]),
        ({"method__n_iter": "many"}, ["cl_params.method.n_iter", "many", "a number"]),
        ({"model_params__pretrained": "x.pt"}, ["model_params.pretrained", "x.pt", "classifier.pretrained"]),
        ({"method__matching_mode": "direct"}, ["gan.ada.mode", "gan.matching_mode: direct"]),
        ({"model_params__n_layers": [18]}, ["model_params.n_layers", "[18]", "18, 34, 50"]),
    ],
)
def test_what_cannot_be_imported_is_named(
    genifer: Genifer, tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    config = write_published_config(tmp_path, "incremental", **changes)
    done = genifer("import-reference", "--config", config, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert not (tmp_path / "out").exists()


def test_configs_of_one_run_must_agree(genifer: Genifer, tmp_path: Path) -> None:
    first, second = (
        write_published_config(tmp_path, "gan"),
        write_published_config(tmp_path, "incremental", method__gen_lr=0.1),
    )
    done = genifer("import-reference", "--config", first, "--config", second, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "gan.json" in done.stderr
    assert "incremental.json" in done.stderr


def arguments(checkpoints: dict[str, Path]) -> list[str | Path]:
    return [argument for name, path in checkpoints.items() for argument in (f"--{name}", path)]


def test_checkpoints_go_on_here(genifer: Genifer, tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    config = write_published_config(tmp_path, "incremental")
    done = genifer("import-reference", "--config", config, *arguments(checkpoints), "--output", "out")
    assert done.returncode == 0, done.stderr
    start = load_settings(tmp_path / "out" / "run.yaml").start
    assert (start.task, start.classifier, start.gan) == (
        0,
        Path("out/classifier.safetensors"),
        Path("out/gan.safetensors"),
    )
    state = published_states()
    trained = load_classifier(tmp_path / "out" / "classifier.safetensors", torch.device("cpu"))
    weights = torch.load(checkpoints["classifier"], weights_only=True)
    assert trained.network.n_classes == 50
    assert torch.equal(trained.network.head.weight, weights["curr_readout.weight"])
    assert trained.normalization.mean.flatten().tolist() == pytest.approx([0.507, 0.487, 0.441])
    gan = load_gan(tmp_path / "out" / "gan.safetensors", torch.device("cpu"))
    assert gan.n_classes_seen == 50
    assert torch.equal(
        gan.generator.constant, torch.load(checkpoints["generator"], weights_only=True)["const"]
    )
    assert state["generator"]["const"].shape == gan.generator.constant.shape


def test_what_does_not_fit_is_listed_and_nothing_is_written(
    genifer: Genifer, tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    config = write_published_config(tmp_path, "incremental")
    for name, missing, wrong in (
        ("classifier", "feature_extractor.stage3.0.bn1.weight", "feature_extractor.stage5.1.conv2.weight"),
        ("generator", "conv3.y1.bias", "conv7.noise_scale"),
        ("discriminator", "logits.dense.bias", "prologue.conv2.bias"),
    ):
        state = published_states()[name]
        shape = tuple(state.pop(missing).shape)
        state[wrong] = torch.zeros(2, 3)
        state["bogus.weight"] = torch.zeros(5)
        torch.save(state, tmp_path / "bad.pt")
        bad = checkpoints | {name: tmp_path / "bad.pt"}
        done = genifer("import-reference", "--config", config, *arguments(bad), "--output", "out")
        assert done.returncode == 1
        for words in (
            "bad.pt: the checkpoint does not fit",
            f"missing: {missing} {shape}",
            "extra: bogus.weight (5,)",
            f"wrong shape: {wrong} is (2, 3)",
        ):
            assert words in done.stderr, done.stderr
        assert not (tmp_path / "out").exists()


class Bomb:
    """Pickled, it would create a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("content", ["bomb", "text", "empty", "list", "missing"])
def test_other_files_than_checkpoints_are_refused(genifer: Genifer, tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.pt"
    match content:
        case "bomb":
            torch.save({"weight": Bomb(tmp_path / "boom")}, path)
        case "text":
            path.write_text("not a checkpoint")
        case "empty":
            path.touch()
        case "list":
            torch.save([torch.zeros(2)], path)
    config = write_published_config(tmp_path, "incremental")
    done = genifer("import-reference", "--config", config, "--classifier", path, "--output", "out")
    assert done.returncode == 1
    assert "a.pt" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "boom").exists()


def test_half_a_gan_or_a_classifier_of_another_run_is_refused(
    genifer: Genifer, tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    config = write_published_config(tmp_path, "incremental")
    base = ["import-reference", "--config", config, "--output", "out"]
    assert "--discriminator" in genifer(*base, "--generator", checkpoints["generator"]).stderr
    gan = {name: checkpoints[name] for name in ("generator", "discriminator")}
    assert "--gan-task" in genifer(*base, *arguments(gan)).stderr
    config = write_published_config(tmp_path, "incremental")
    other = json.loads(config.read_text())
    other["cl_params"] |= {"num_classes_per_task": [40, 60], "num_tasks": 2, "class_ids_per_task": None}
    config.write_text(json.dumps(other))
    done = genifer(*base, "--classifier", checkpoints["classifier"])
    assert "knows 50 classes" in done.stderr
    assert not (tmp_path / "out").exists()
