"""The quality of replay, measured on GANs and samples whose figures are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from support.commands import TINY, merged
from support.in_process import genifer, run

from genifer.config import EvaluationSettings
from genifer.evaluation.replay import coverage, evaluate_replay, frechet_distance
from genifer.runtime.tensors import load_tensors, save_tensors

CPU = torch.device("cpu")
LEARNS = {
    "steps": 200,
    "crop_padding": 0,
    "horizontal_flip": False,
    "optimizer": {"name": "adam", "learning_rate": 0.01},
}


def test_frechet_distance_of_known_gaussians() -> None:
    """Of independent features it is the squared distance of means and of standard deviations."""
    rng = torch.Generator().manual_seed(0)
    sample = torch.randn(20_000, 3, generator=rng)
    other = torch.randn(20_000, 3, generator=rng) * torch.tensor([1.0, 2.0, 0.5]) + torch.tensor([3.0, 0, 0])
    assert frechet_distance(sample, sample) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(sample, other) == pytest.approx(9 + 1 + 0.25, rel=0.03)
    assert frechet_distance(sample, other) == pytest.approx(frechet_distance(other, sample))
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=rng))[0]
    assert frechet_distance(sample @ rotation, other @ rotation) == pytest.approx(
        frechet_distance(sample, other), rel=1e-4
    )
    assert np.isfinite(frechet_distance(sample[:2], other[:1]))


def test_coverage_of_known_samples() -> None:
    """Equal distributions cover 1 - 1 / 2^k of each other; a single mode covers what lies around it."""
    rng = torch.Generator().manual_seed(0)
    real, other = (torch.randn(2000, 4, generator=rng) for _ in range(2))
    assert coverage(real, other) == pytest.approx(1 - 1 / 2**5, abs=0.01)
    assert coverage(real, other, k=2) == pytest.approx(1 - 1 / 2**2, abs=0.03)
    assert coverage(real, other + 100) == 0
    two_modes = torch.cat([real, real + 100])
    assert coverage(two_modes, other) == pytest.approx(0.5 * (1 - 1 / 2**5), abs=0.01)
    assert coverage(real[:3], real[:3]) == 1
    assert np.isnan(coverage(real[:1], real[:1]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a classifier that knows its classes, and a GAN that has not learned anything."""
    folder = tmp_path_factory.mktemp("trained")
    settings = merged(TINY, {"pretrain_classifier": LEARNS, "joint": LEARNS, "scenario": {"tasks": [4, 6]}})
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config, first = ["--config", "run.yaml"], "data/task_0_train.safetensors"
        assert genifer("prepare-data", *config, "--output", "data") == 0
        assert genifer("pretrain-classifier", *config, "--output", "classifier", first) == 0
        classifier = ["--classifier", "classifier/classifier.safetensors"]
        assert genifer("pretrain-gan", *config, *classifier, "--output", "gan", first) == 0
    return folder


def command(output: str) -> list[str]:
    return [
        *["evaluate-replay", "--config", "run.yaml", "--method", "a label", "--output", output],
        *["--gan", "gan/gan.safetensors", "--classifier", "classifier/classifier.safetensors"],
        *["data/task_0_train.safetensors", "data/task_0_test.safetensors"],
    ]


def test_a_gan_that_knows_nothing(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    assert genifer(*command("replay")) == 0
    table = pd.read_csv("replay/replay.csv")
    assert (table["method"] == "a label").all()
    assert table["label"].tolist() == [0, 1, 2, 3]
    assert (table["agreement"] == (table["n_agreeing"] / table["n_replayed"]).round(6)).all()
    assert table["agreement"].mean() < 0.5
    assert table["agreement_of_held_out"].mean() > 0.9
    assert table["coverage"].mean() < 0.3
    assert table["judge_agreement"].isna().all()
    assert (table["frechet"] > 5 * table["frechet_of_held_out"]).all()
    assert (table["nearest"] > 1.5 * table["nearest_of_held_out"]).all()
    again = (trained / "replay" / "replay.csv").read_bytes()
    assert genifer(*command("again")) == 0
    assert Path("again/replay.csv").read_bytes() == again


def test_a_gan_that_copies_is_noticed(trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In place of the generator the training images themselves are the replay, each class in order."""
    monkeypatch.chdir(trained)
    tensors, _ = load_tensors(Path("data/task_0_train.safetensors"), "data set")

    def copies(
        _: object, z: torch.Tensor, labels: torch.Tensor, __: object, normalize: object
    ) -> torch.Tensor:
        of_class = tensors["images"][tensors["labels"] == labels[0]]
        return normalize(of_class[: len(z)])  # type: ignore[operator]

    monkeypatch.setattr("genifer.evaluation.replay.generate_replay", copies)
    gan, classifier = Path("gan/gan.safetensors"), Path("classifier/classifier.safetensors")
    data = [Path(f"data/task_0_{split}.safetensors") for split in ("train", "test")]
    evaluate_replay(EvaluationSettings(), "a label", 0, gan, classifier, data, tmp_path, CPU)
    table = pd.read_csv(tmp_path / "replay.csv")
    assert table["nearest"].max() == 0
    assert (table["nearest_of_held_out"] > 5).all()
    assert table["agreement"].mean() > 0.9
    assert table["coverage"].mean() > 0.8
    pairs, description = load_tensors(tmp_path / "nearest.safetensors", "nearest replayed images")
    assert torch.equal(pairs["replayed"], pairs["training"])
    assert description["class_names"] == pd.read_csv(tmp_path / "replay.csv")["class_name"].map(str).tolist()


def test_a_joint_classifier_judges_too(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may know more classes, which do not count; one that knows fewer is refused."""
    monkeypatch.chdir(trained)
    config = ["--config", "run.yaml", "--old-classifier", "classifier/classifier.safetensors"]
    both = [f"data/task_{task}_train.safetensors" for task in range(2)]
    assert genifer("train", "joint", *config, "--output", "joint", *both) == 0
    judge = ["--judge", "joint/classifier.safetensors"]
    assert genifer(*command("without")) == 0
    assert genifer(*command("judged"), *judge) == 0
    table = pd.read_csv("judged/replay.csv")
    assert table["judge_agreement_of_held_out"].mean() > 0.5
    assert table["judge_agreement"].mean() < table["judge_agreement_of_held_out"].mean()
    without = pd.read_csv("without/replay.csv")
    assert table["agreement"].equals(without["agreement"])
    config[1] = "few.yaml"
    few = merged(TINY, {"pretrain_classifier": LEARNS | {"steps": 1}, "scenario": {"tasks": [2, 8]}})
    Path("few.yaml").write_text(yaml.safe_dump(few))
    assert genifer("prepare-data", *config[:2], "--output", "few") == 0
    first = "few/task_0_train.safetensors"
    assert genifer("pretrain-classifier", *config[:2], "--output", "few_classes", first) == 0
    code, text = run(capsys, *command("wrong"), "--judge", "few_classes/classifier.safetensors")
    assert code == 1
    assert "few_classes/classifier.safetensors: knows 2 classes" in text


def test_files_of_the_wrong_tasks_are_refused(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    wrong = [part.replace("task_0_test", "task_1_test") for part in command("wrong")]
    code, text = run(capsys, *wrong)
    assert code == 1
    assert "holds task 1" in text
    code, text = run(capsys, *command("wrong")[:-1])
    assert code == 1
    assert "1 training and 0 held-out files; give both of every task so far" in text
    assert not Path("wrong/replay.csv").exists()


def test_a_class_without_held_out_images_is_named(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    tensors, description = load_tensors(Path("data/task_0_test.safetensors"), "data set")
    left = tensors["labels"] != 2
    kept = {name: tensor[left] for name, tensor in tensors.items()}
    save_tensors(Path("few.safetensors"), kept, description)
    code, text = run(capsys, *[part.replace("data/task_0_test", "few") for part in command("few")])
    assert code == 1
    assert f"class '{description['class_names'][2]}' has no image" in text
