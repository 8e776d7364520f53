"""A run on paper: what its jobs need, and which of them variants share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.commands import TINY, merged

from genifer.layout import Layout
from genifer.run_file import parse_settings

METHODS = """
from genifer.methods import Method

class Memory(Method):
    name = "memory"
    first_task = "memory"

class Own(Method):
    name = "own"
    first_task = "own"

class OwnGan(Method):
    name = "own_gan"
    first_task = "own"
    uses_gan = True

class Prototypes(Method):
    name = "prototypes"
    first_task = "memory"
    stores_exemplars = True

    def logits(self, images):
        return images
"""


def layout(**changes: Any) -> Layout:
    return Layout(parse_settings(merged(TINY, changes), "test"))


@pytest.fixture
def plugins(tmp_path: Path) -> list[str]:
    path = tmp_path / "methods.py"
    path.write_text(METHODS)
    return [str(path)]


def places(planned: Layout) -> set[str]:
    return {job.place for job in planned.trainings}


def needs(planned: Layout, place: str) -> set[str]:
    (job,) = [job for job in planned.trainings if job.place == place]
    return {before.place for before in planned.trained_before(job)}


def test_each_task_follows_from_the_one_before() -> None:
    planned = layout(methods=["genifer", "joint"])
    assert [job.place for job in planned.trainings] == [
        "shared/task_0/pretrain_classifier",
        "shared/task_0/pretrain_gan",
        "genifer/task_1/train_genifer",
        "genifer/task_1/train_gan",
        "genifer/task_2/train_genifer",
        "joint/task_1/train_joint",
        "joint/task_2/train_joint",
    ]
    assert needs(planned, "genifer/task_2/train_genifer") == {
        "genifer/task_1/train_genifer",
        "genifer/task_1/train_gan",
    }
    for place, tasks in (("genifer/task_2/train_genifer", [2]), ("joint/task_2/train_joint", [0, 1, 2])):
        (job,) = [job for job in planned.trainings if job.place == place]
        assert job.inputs["data"] == [
            f"results/quickstart/data/task_{task}_train.safetensors" for task in tasks
        ]


def test_every_training_comes_after_those_it_needs() -> None:
    planned = layout(methods={"a": {"method": "genifer", "gan": {"r1_gamma": 1}}, "genifer": {}, "lwf": {}})
    seen: set[str] = set()
    for job in planned.trainings:
        assert {before.folder for before in planned.trained_before(job)} <= seen
        seen.add(job.folder)


def test_variants_share_what_is_equal() -> None:
    """Only the trainings whose settings, or inputs, differ are a variant's own."""
    own = {"later": {"method": "genifer", "train_gan": {"distillation_weight": 5.0}}}
    planned, plain = layout(methods={"genifer": {}, **own}), layout(methods=["genifer"])
    group = "genifer+train_gan.distillation_weight=5.0"
    assert places(planned) - places(plain) == {f"{group}/task_1/train_gan", f"{group}/task_2/train_genifer"}
    assert needs(planned, f"{group}/task_2/train_genifer") == {
        "genifer/task_1/train_genifer",
        f"{group}/task_1/train_gan",
    }
    # Evaluations carry the label.
    assert {job.group for job in planned.evaluations} == {"shared", "genifer", "later"}
    assert {job.group for job in planned.replay_evaluations} == {"shared", "genifer", "later"}


@pytest.mark.parametrize("reverse", [False, True])
def test_the_order_of_variants_decides_nothing(reverse: bool) -> None:
    own = {
        "genifer": {},
        "no-ada": {"method": "genifer", "gan": {"ada": {"mode": "none"}}},
        "no-ada-long": {"method": "genifer", "gan": {"ada": {"mode": "none"}}, "genifer": {"steps": 9}},
    }
    planned = layout(methods=dict(reversed(own.items())) if reverse else own)
    assert "shared+gan.ada.mode=none/task_0/pretrain_gan" in places(planned)
    first_gans = [job for job in planned.trainings if job.name == "pretrain_gan"]
    assert len(first_gans) == 2
    for label in own:
        others = {name: settings for name, settings in own.items() if name != label}
        assert places(layout(methods=others)) <= places(planned)


def test_own_settings_that_are_the_runs_are_none() -> None:
    same = {"same": {"method": "genifer", "gan": {"matching_stage": 4}, "genifer": {"steps": 3}}}
    assert places(layout(methods=same)) == places(layout(methods=["genifer"]))


def test_own_settings_that_make_no_name_are_a_hash() -> None:
    own = {"a": {"method": "finetune", "finetune": {"optimizer": {"milestones": [0.1, 0.2]}}}}
    (group,) = {job.group for job in layout(methods=own).trainings} - {"shared"}
    assert group.startswith("finetune+")
    assert len(group) == len("finetune+") + 10


def test_a_changed_classifier_changes_everything_after_it() -> None:
    planned = layout(methods={"genifer": {}, "wide": {"method": "genifer", "classifier": {"width": 8}}})
    wide = {place for place in places(planned) if "classifier.width=8" in place}
    assert {place.replace("+classifier.width=8", "") for place in wide} == places(layout(methods=["genifer"]))
    assert planned.table_settings["tabulate"]["variants"]["wide"]["places"][0] == (
        "shared+classifier.width=8/task_0/evaluate"
    )


def test_methods_that_treat_the_first_task_in_their_own_way(plugins: list[str]) -> None:
    planned = layout(plugins=plugins, methods=["memory", "own", "own_gan", "prototypes"])
    assert needs(planned, "memory/task_0/train_memory") == {"shared/task_0/pretrain_classifier"}
    assert needs(planned, "own/task_0/train_own") == set()
    assert needs(planned, "own_gan/task_0/pretrain_gan") == {"own_gan/task_0/train_own_gan"}
    assert needs(planned, "own_gan/task_1/train_own_gan") == {
        "own_gan/task_0/train_own_gan",
        "own_gan/task_0/pretrain_gan",
    }
    steps = {job.place: job.steps for job in planned.trainings}
    assert steps["memory/task_0/train_memory"] == 0
    assert steps["own/task_0/train_own"] == steps["memory/task_1/train_memory"] == 15_600
    tables = planned.table_settings["tabulate"]["variants"]
    assert tables["own"]["places"][0] == "own/task_0/evaluate"
    assert tables["prototypes"]["old_images"] == "exemplars"


def test_a_method_that_classifies_in_its_own_way_is_part_of_its_evaluation(plugins: list[str]) -> None:
    planned = layout(plugins=plugins, methods=["memory", "prototypes"])
    versions = {job.group: job.settings_json() for job in planned.evaluations if job.task == 1}
    source_hash = planned.variants[1].method.source_hash
    assert source_hash is not None
    assert source_hash in versions["prototypes"]
    assert source_hash not in versions["memory"]


def test_paths_of_a_run_lie_in_its_folder() -> None:
    planned = layout()
    files = [*planned.final, *planned.prepared, *(job.folder for job in planned.trainings)]
    assert all(path.startswith("results/quickstart/") for path in files)
    assert len(files) == len(set(files))


def test_an_order_per_seed_has_data_per_seed() -> None:
    """A job's images are those of its seed; without it the paths are those of one order."""
    drawn = layout(scenario={"class_order": "seed"}, seeds=[3, 5])
    jobs = [*drawn.trainings, *drawn.evaluations, *drawn.replay_evaluations]
    for job in jobs:
        assert {Path(path).parent.name for path in job.inputs["data"]} == {f"seed_{job.seed}"}
    assert {Path(path).parent.name for path in drawn.prepared} == {"seed_3", "seed_5"}
    (forgotten,) = [figure for figure in drawn.figures if figure.name == "forgetting"]
    assert {Path(path).parent.name for path in forgotten.data} == {"seed_3"}
    one = layout(seeds=[3, 5])
    assert {str(Path(path).parent) for path in one.prepared} == {"results/quickstart/data"}
    assert one.prepared_for("{seed}") == one.prepared
    assert [run.table_settings["tabulate"]["class_order"] for run in (drawn, one)] == ["seed", "1993"]


def test_the_settings_of_accuracies() -> None:
    """What all methods depend on is stated once; where and how a run computes is left out."""
    changes = {"data": {"dataset": "image_folder", "archive": "a.zip"}, "runtime": {"precision": "fp32"}}
    planned = layout(
        methods={"lwf": {}, "wide": {"method": "lwf", "classifier": {"width": 32}}, "joint": {}}, **changes
    )
    settings = planned.table_settings["tabulate"]["settings"]
    assert settings[""]["data.dataset"] == "image_folder"
    assert settings["wide"]["classifier.width"] == "32"
    assert settings["lwf"]["classifier.width"] != "32"
    assert settings["lwf"]["lwf.distillation_weight"] == settings["wide"]["lwf.distillation_weight"]
    assert not any(name.startswith("lwf.") for name in {**settings[""], **settings["joint"]})
    stated = {name for own in settings.values() for name in own}
    assert not any(name.startswith(("data.archive", "runtime.", "plots.", "gan.")) for name in stated)


def test_an_order_per_seed_is_the_order_of_that_seed() -> None:
    drawn, fixed = layout(scenario={"class_order": "seed"}), layout(scenario={"class_order": 3})
    assert drawn.settings_json("prepare_data", "3") == fixed.settings_json("prepare_data")
    assert drawn.settings_json("prepare_data", "4") != fixed.settings_json("prepare_data")
    assert fixed.settings_json("prepare_data", None) == fixed.settings_json("prepare_data", "4")
    by_job = [[job.settings_json() for job in run.trainings] for run in (drawn, fixed)]
    assert by_job[0] == by_job[1]


def test_given_checkpoints_replace_trainings() -> None:
    start = {"task": 1, "classifier": "c.safetensors", "gan": "g.safetensors"}
    planned = layout(methods=["genifer"], start=start)
    assert [job.place for job in planned.trainings] == ["genifer/task_2/train_genifer"]
    assert planned.job("pretrain_gan", 0, "shared", 1).inputs["given"] == "g.safetensors"


TORCHVISION = {"data": {"channels": 3}, "classifier": {"width": 64, "pretrained": "imagenet"}}


def test_pretrained_weights_are_an_input_of_the_first_training(tmp_path: Path, plugins: list[str]) -> None:
    (tmp_path / "own.pth").touch()
    variants = {
        "genifer": {},
        "deeper": {"method": "finetune", "classifier": {"architecture": "resnet34"}},
        "given": {"method": "finetune", "classifier": {"pretrained": str(tmp_path / "own.pth")}},
        "new": {"method": "finetune", "classifier": {"pretrained": None}},
        "own": {},
    }
    planned = layout(**TORCHVISION, methods=variants, plugins=plugins)
    by_label = {label: planned._chains[0, label].classifiers for label in variants}
    downloads = "results/downloads/imagenet"
    files = {label: classifiers[0].inputs.get("pretrained") for label, classifiers in by_label.items()}
    assert files == {
        "genifer": f"{downloads}/resnet18-f37072fd.pth",
        "deeper": f"{downloads}/resnet34-b627a593.pth",
        "given": str(tmp_path / "own.pth"),
        "new": None,
        "own": f"{downloads}/resnet18-f37072fd.pth",
    }
    first = by_label["genifer"][0]
    assert first.checkpoint_options() == ["--pretrained", files["genifer"]]
    assert first.checkpoint_options(dict(first.inputs) | {"pretrained": "copy"}) == ["--pretrained", "copy"]
    assert by_label["new"][0].checkpoint_options() == []
    assert by_label["own"][0].name == "train_own"
    assert not any("pretrained" in classifiers[1].inputs for classifiers in by_label.values())
    assert planned.downloaded_weights == {"resnet18": files["genifer"], "resnet34": files["deeper"]}


def test_a_given_classifier_needs_no_weights(tmp_path: Path) -> None:
    start = {"classifier": str(tmp_path / "classifier.safetensors")}
    assert layout(**TORCHVISION, methods=["finetune"], start=start).downloaded_weights == {}
    assert layout().downloaded_weights == {}
