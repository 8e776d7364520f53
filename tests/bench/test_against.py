"""`genifer bench --against` compares two checkouts on one machine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import write_run_file

Genifer = Callable[..., subprocess.CompletedProcess[str]]


def checkout(folder: Path, main: str) -> Path:
    """A checkout whose command line does as given."""
    (folder / "genifer").mkdir(parents=True)
    (folder / "genifer" / "__init__.py").touch()
    (folder / "genifer" / "__main__.py").write_text(main)
    return folder


@pytest.fixture
def options(tmp_path: Path) -> list[str | Path]:
    return ["--config", write_run_file(tmp_path), "--device", "cpu", "--steps", "1", "--repeats", "1"]


def test_ratios_of_each_round(genifer: Genifer, options: list[str | Path], tmp_path: Path) -> None:
    figures = [{"name": "classifier, first task", "seconds": 1000.0}, {"name": "gone", "seconds": 1.0}]
    slow = checkout(tmp_path / "slow", f"print({json.dumps(json.dumps({'figures': figures}))})")
    done = genifer("bench", "classifier", *options, "--against", slow, "--rounds", "2")
    assert done.returncode == 0, done.stderr
    rounds = [line.split() for line in done.stdout.splitlines() if line.startswith("round ")]
    assert [line[1] for line in rounds] == ["1,", "2,"]
    for *_, here, other, ratio in rounds:
        assert float(other) == 1_000_000
        assert float(ratio) == pytest.approx(1_000_000 / float(here), rel=0.05)
    assert "2 rounds" in done.stdout.splitlines()[-1]
    assert "gone" not in done.stdout
    as_json = genifer("bench", "classifier", *options, "--against", slow, "--rounds", "1", "--json")
    (ratio,) = json.loads(as_json.stdout)["classifier, first task"]
    assert ratio > 1


def test_each_checkout_gets_its_run_file(genifer: Genifer, options: list[str | Path], tmp_path: Path) -> None:
    other_file = tmp_path / "other.yaml"
    other_file.write_text("{}")
    main = "import sys; sys.exit(f'fails with {sys.argv[1:]}')"
    broken = checkout(tmp_path / "broken", main)
    done = genifer("bench", "classifier", *options, "--against", broken, "--against-config", other_file)
    assert done.returncode == 1
    assert f"genifer bench fails in {broken}" in done.stderr
    assert str(other_file) in done.stderr
    assert "'--steps', '1'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("main", "words"),
    [(None, "is not a checkout of genifer"), ("print('{\"figures\": []}')", "no benchmark of the same name")],
)
def test_nothing_to_compare_with(
    genifer: Genifer, options: list[str | Path], tmp_path: Path, main: str | None, words: str
) -> None:
    other = tmp_path / "other"
    if main is not None:
        checkout(other, main)
    done = genifer("bench", "classifier", *options, "--against", other, "--rounds", "1")
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
