"""The run files that override parts of another one: scenarios and ablations."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from snakemake.utils import update_config
from support.commands import ROOT, TINY, call, make_clone, merged, planned

from genifer.config import RunSettings, Variant
from genifer.layout import Layout
from genifer.run_file import parse_settings, read_yaml
from genifer.task_sizes import tasks_text
from genifer.training.job import Job
from genifer.training.untrained import untrained_gan, untrained_task

CONFIG = ROOT / "config"
ABLATIONS = sorted(path.stem for path in (CONFIG / "ablations").glob("*.yaml"))
OF_OTHER_METHODS = {
    "cpu-options": "cifar10-cpu",
    "digits-options": "quickstart",
    "distillation-weight": "cifar10-cpu",
}
OF_GENIFER = [name for name in ABLATIONS if name not in OF_OTHER_METHODS]
RUN_FILES = ["config", "quickstart", "cifar10-cpu", "imagenet100-cpu"]

SMALL = {
    "data": {"image_size": 8},
    "classifier": {"width": 4},
    "generator": {"latent_dim": 8, "embedding_dim": 4, "style_dim": 8, "channels": [8, 8, 8, 4]},
    "discriminator": {"width": 4},
    "gan": {"batch_size": 8},
}
"""Sizes that make a step fast; no ablation of the classifier varies them."""


def combined(*names: str, changes: dict[str, Any] | None = None) -> RunSettings:
    """The settings that Snakemake takes from several run files, with changes."""
    content: dict[str, Any] = {}
    for name in names:
        update_config(content, read_yaml(CONFIG / f"{name}.yaml"))
    return parse_settings(merged(content, changes or {}), " ".join(names))


@pytest.mark.parametrize("base", RUN_FILES)
@pytest.mark.parametrize("name", OF_GENIFER)
def test_an_ablation_is_valid_beside_other_run_files(name: str, base: str) -> None:
    """It varies genifer, keeps the run file's own settings as a reference, and chooses on validation images."""
    settings = combined(base, f"ablations/{name}")
    reference, *others = settings.variants
    assert (reference.label, reference.own) == ("genifer", {})
    assert len(others) > 1
    assert all(one.settings != other.settings for one, other in itertools.combinations(others, 2))
    assert {variant.method.name for variant in others} == {"genifer"}
    assert settings.evaluation.split == "validation"
    assert settings.seeds == combined(base).seeds
    assert settings.run != combined(base).run
    assert Layout(settings).trainings


def gradient(variant: Variant, folder: Path) -> torch.Tensor:
    """The gradient of the classifier in a step of a later task, with the same networks and images."""
    job = Job("train_genifer", 0, 1, folder, torch.device("cpu"), "fp32")
    learner = untrained_task(variant.settings, variant.method, job).learner
    learner.losses(learner.draw_batch())["loss"].backward()
    weights = learner.classifier.parameters()
    return torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in weights])


@pytest.mark.parametrize("base", RUN_FILES)
@pytest.mark.parametrize(
    "name", ["feature-distillation", "replay-augmentation", "replay-share", "teacher-batch-norm"]
)
def test_variants_of_the_classifier_learn_differently(name: str, base: str, tmp_path: Path) -> None:
    """Whatever the run file sets: a setting that a weight of 0 or a frozen stage disables varies nothing."""
    settings = combined(base, f"ablations/{name}", changes=SMALL)
    gradients = {variant.label: gradient(variant, tmp_path) for variant in settings.variants[1:]}
    equal = [
        f"{one}, {other}"
        for one, other in itertools.combinations(gradients, 2)
        if torch.allclose(gradients[one], gradients[other], rtol=1e-3, atol=1e-6)
    ]
    assert equal == []


def test_the_paper_distils_features_on_replay() -> None:
    """With its settings, on-replay is the reference, and is not trained again."""
    settings = combined("config", "ablations/feature-distillation")
    assert settings.variant("on-replay").settings.genifer == settings.variant("genifer").settings.genifer
    groups = {job.group for job in Layout(settings).trainings if job.name == "train_genifer"}
    assert len(groups) == len(settings.variants) - 1


@pytest.mark.parametrize(("name", "base"), OF_OTHER_METHODS.items())
def test_an_ablation_of_other_methods_is_valid(name: str, base: str) -> None:
    """Its variants differ, and it chooses on validation images."""
    settings = combined(base, f"ablations/{name}")
    assert Layout(settings).trainings
    assert all(
        one.settings != other.settings or one.method != other.method
        for one, other in itertools.combinations(settings.variants, 2)
    )
    assert settings.evaluation.split == "validation"


def test_ablations_vary_what_their_names_say() -> None:
    def values(name: str, block: str, setting: str) -> set[object]:
        variants = combined("quickstart", f"ablations/{name}").variants
        return {getattr(getattr(variant.settings, block), setting) for variant in variants}

    assert values("matching-stage", "gan", "matching_stage") == set(range(7))
    assert 0 in values("generator-distillation", "train_gan", "distillation_weight")
    assert 0 in values("feature-distillation", "genifer", "feature_distillation_weight")
    assert values("replay-augmentation", "genifer", "augment_replay") == {True, False}
    assert values("teacher-batch-norm", "genifer", "freeze_old_batch_norm") == {True, False}
    assert values("replay-share", "genifer", "replay_fraction") == {0.25, 0.5, 0.75, "adaptive"}
    modes = {variant.settings.gan.ada.mode for variant in combined("quickstart", "ablations/ada").variants}
    assert modes == {"none", "fixed", "adaptive"}


@pytest.mark.parametrize("stage", range(7))
def test_every_stage_can_be_matched_on_small_images(stage: int, tmp_path: Path) -> None:
    """The quickstart's images have 16 pixels; the features of stage 5 have 2."""
    settings = combined("quickstart", "ablations/matching-stage").variant(f"stage-{stage}").settings
    assert settings.data.image_size == 16
    gan = untrained_gan(settings, Job("train_gan", 0, 1, tmp_path, torch.device("cpu"), "fp32"))
    batch = gan.draw_batch()
    generated = gan.share(batch)
    scalars = gan.discriminator_step(batch, 0, generated) | gan.generator_step(batch, generated)
    assert all(torch.as_tensor(value).isfinite().all() for value in scalars.values())


@pytest.mark.parametrize(
    ("name", "text"), [("50-10x5", "50 + 10 x 5"), ("40-20x3", "40 + 20 x 3"), ("10x10", "10 x 10")]
)
def test_scenarios_of_the_papers_data_set(name: str, text: str) -> None:
    settings = combined("config", f"scenarios/{name}")
    assert tasks_text(settings.scenario.tasks) == text
    assert sum(settings.scenario.tasks) == 100
    assert settings.run == f"paper-{name}"
    assert settings.methods == combined("config").methods


@pytest.mark.slow
@pytest.mark.parametrize("base", ["quickstart", "config"])
def test_snakemake_plans_an_ablation(base: str, tmp_path: Path) -> None:
    """As `make ablation` runs it: both files, and a name of its own for the run."""
    name = "matching-stage"
    clone = make_clone(tmp_path)
    shown = call(["make", "--dry-run", "ablation", f"NAME={name}", f"CONFIG=config/{base}.yaml"])
    assert f"config/{base}.yaml config/ablations/{name}.yaml --config run={name}-{base}" in shown.stdout
    jobs = planned(clone, f"config/{base}.yaml", f"config/ablations/{name}.yaml")
    settings = combined(base, f"ablations/{name}")
    trainings = {job for job in jobs if job.startswith(("pretrain_", "train_"))}
    assert len(trainings) == len(Layout(settings).trainings)


@pytest.mark.slow
def test_an_ablation_runs(tmp_path: Path) -> None:
    """The tiny run in place of the quickstart, with all stages; the table and both figures of it."""
    clone = make_clone(tmp_path)
    small = merged(TINY, {"scenario": {"tasks": [6, 4]}, "methods": ["genifer"]})
    (clone / "config" / "quickstart.yaml").write_text(yaml.safe_dump(small))
    files = ["config/quickstart.yaml", "config/ablations/matching-stage.yaml"]
    done = call(["snakemake", "--configfile", *files, "--config", "run=stages"], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    done = call(["genifer", "compare", "stages"], clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| stage-6 | 1 |" in done.stdout
    table = pd.read_csv(clone / "comparison" / "comparison.csv").set_index("method")
    assert set(table.index) == {"genifer", *(f"stage-{stage}" for stage in range(7))}
    assert table.loc["stage-4", "difference"] == 0  # the same trainings as genifer's
    assert (clone / "comparison" / "averages.svg").is_file()
