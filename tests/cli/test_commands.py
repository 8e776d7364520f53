"""The jobs by hand, through the command line, and what it says when something is wrong."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from safetensors import safe_open
from support.commands import ROOT, call, write_run_file

Genifer = Callable[..., subprocess.CompletedProcess[str]]


def test_help_names_every_command_of_the_workflow(genifer: Genifer) -> None:
    text = genifer("--help").stdout
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    used = set(re.findall(r"(?:python -m genifer --log \{log:q\} |command=\")([a-z-]+)", rules))
    assert {"train", "train-gan", "evaluate", "tabulate", "plot"} < used
    assert [command for command in used if f" {command} " not in text] == []


def test_chain_by_hand(genifer: Genifer, tmp_path: Path) -> None:
    """Each training opens its own task's images and no others: they are all that is there."""
    run_file = write_run_file(tmp_path)
    prepared = genifer("prepare-data", "--config", run_file, "--output", "all")
    assert prepared.returncode == 0, prepared.stderr

    def only(split: str, task: int) -> str:
        source = tmp_path / "all" / f"task_{task}_{split}.safetensors"
        target = tmp_path / "here" / source.name
        target.parent.mkdir(exist_ok=True)
        for other in target.parent.iterdir():
            other.unlink()
        target.write_bytes(source.read_bytes())
        return f"here/{source.name}"

    common = ("--config", run_file, "--seed", "1")
    steps: list[tuple[str, int, list[str], str]] = [
        ("pretrain-classifier", 0, [], "c0"),
        ("pretrain-gan", 0, ["--classifier", "c0/classifier.safetensors"], "g0"),
        (
            "train genifer",
            1,
            ["--old-classifier", "c0/classifier.safetensors", "--old-gan", "g0/gan.safetensors"],
            "c1",
        ),
        (
            "train-gan",
            1,
            ["--classifier", "c1/classifier.safetensors", "--old-gan", "g0/gan.safetensors"],
            "g1",
        ),
        (
            "train genifer",
            2,
            ["--old-classifier", "c1/classifier.safetensors", "--old-gan", "g1/gan.safetensors"],
            "c2",
        ),
    ]
    for command, task, files, output in steps:
        done = genifer(*command.split(), *common, *files, "--output", output, only("train", task))
        assert done.returncode == 0, done.stderr
        metrics = pd.read_csv(tmp_path / output / "metrics.csv")
        assert metrics["step"].iloc[-1] == (20 if command == "pretrain-classifier" else 3)
        assert metrics.drop(columns="r1", errors="ignore").notna().all(axis=None)
        assert list((tmp_path / output / "tensorboard").iterdir())
    data = [f"all/task_{task}_test.safetensors" for task in range(3)]
    evaluated = genifer(
        "evaluate", *common, "--method", "genifer", "--classifier", "c2/classifier.safetensors", *data,
        "--output", "evaluation",
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr
    table = pd.read_csv(tmp_path / "evaluation" / "accuracy.csv")
    assert table["eval_task"].tolist() == [0, 1, 2]
    assert table["n_classes"].tolist() == [4, 3, 3]
    assert (table["accuracy"] - table["n_correct"] / table["n_test"]).abs().max() < 1e-6
    confusion = pd.read_csv(tmp_path / "evaluation" / "confusion.csv")
    right = confusion[confusion["label"] == confusion["predicted"]]
    assert confusion["n_images"].sum() == table["n_test"].sum()
    assert right["n_images"].sum() == table["n_correct"].sum()

    wrong = genifer(
        "train", "genifer", *common, "--old-classifier", "c0/classifier.safetensors",
        "--old-gan", "g1/gan.safetensors", "--output", "wrong", only("train", 2),
    )  # fmt: skip
    assert wrong.returncode == 1
    assert "knows 4 classes" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_same_seed_same_weights_other_seed_others(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path)
    genifer("prepare-data", "--config", run_file, "--output", "data")
    for seed, output in ((3, "a"), (3, "b"), (4, "c")):
        done = genifer(
            "pretrain-classifier", "--config", run_file, "--seed", seed, "--output", output,
            "--device", "cpu", "data/task_0_train.safetensors",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def weights(name: str) -> list[float]:
        with safe_open(tmp_path / name / "classifier.safetensors", framework="np") as file:
            return file.get_tensor("head.weight").ravel().tolist()

    assert weights("a") == pytest.approx(weights("b"), abs=1e-5)
    assert weights("a") != pytest.approx(weights("c"), abs=1e-2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "--config", "missing.yaml"], ["missing.yaml", "quickstart"]),
        (["check"], ["--config"]),
        (["check", "--config", "tiny.yaml", "--device", "cuda"], ["runtime.device: cuda", "runtime.device: cpu"]),
        (["summary", "nothing"], ["no finished run of this name", "snakemake"]),
        (["pretrain-classifier", "--config", "tiny.yaml", "--output", "x", "no.safetensors"], ["no.safetensors", "missing"]),
        (["pretrain-classifier", "--config", "tiny.yaml", "--output", "x", "tiny.yaml"], ["tiny.yaml", "not a readable data set"]),
        (["pretrain-classifier", "--settings", "{", "--output", "x", "tiny.yaml"], ["--settings", "JSON"]),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_message(
    genifer: Genifer, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    if (
        "cuda" in arguments
        and call(["python", "-c", "import torch; assert torch.cuda.is_available()"]).returncode == 0
    ):
        pytest.skip("this machine has a GPU")
    write_run_file(tmp_path)
    before = sorted(tmp_path.iterdir())
    done = genifer(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("genifer: ")
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_checkpoint_is_refused(genifer: Genifer, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path)
    genifer("prepare-data", "--config", run_file, "--output", "data")
    data = "data/task_0_train.safetensors"
    genifer("pretrain-classifier", "--config", run_file, "--output", "c", data)
    checkpoint = tmp_path / "c" / "classifier.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    done = genifer("pretrain-gan", "--config", run_file, "--classifier", checkpoint, "--output", "g", data)
    assert done.returncode == 1
    assert "not a readable classifier" in done.stderr
    assert not (tmp_path / "g" / "gan.safetensors").exists()


def test_settings_prints_the_papers_run_file(genifer: Genifer) -> None:
    assert genifer("settings").stdout == (ROOT / "config" / "config.yaml").read_text()
    assert '"title": "RunSettings"' in genifer("settings", "--schema").stdout
