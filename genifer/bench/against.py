"""Comparison of the speed of two checkouts on one machine, measured alternately."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from genifer.bench.meter import NAME_WIDTH
from genifer.errors import GeniferError

HERE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Round:
    """Milliseconds of one benchmark in this checkout and in the other, measured one after the other."""

    name: str
    here: float
    other: float

    @property
    def ratio(self) -> float:
        """Speed of this checkout relative to the other."""
        return self.other / self.here


def options_of(
    device: str | None, precision: str | None, compiled: bool, steps: int, repeats: int, ada_p: float | None
) -> list[str]:
    """Return the options of ``genifer bench`` for both checkouts."""
    given = {"--device": device, "--precision": precision, "--ada-p": ada_p}
    given |= {"--steps": str(steps), "--repeats": str(repeats)}
    options = [text for name, value in given.items() if value is not None for text in (name, str(value))]
    return [*options, *(["--compile"] if compiled else [])]


def compare(
    other: Path,
    what: str,
    config: Path,
    other_config: Path | None,
    options: Sequence[str],
    rounds: int,
    as_json: bool,
) -> None:
    """Run benchmarks in this checkout and in another one alternately, and print the ratios of each round.

    Each measurement is ``genifer bench --json`` in a separate process, so the other checkout may have any
    version with this command; both use this Python environment.

    Args:
        other: folder of the other checkout.
        what: benchmark, as in `genifer.bench.run.run_benchmarks`.
        config: run file whose sizes are used.
        other_config: run file for the other checkout; None uses ``config``.
        options: options for both, as on the command line.
        rounds: number of rounds.
        as_json: print one JSON object instead of lines.

    Raises:
        GeniferError: the folder is not a checkout, a benchmark fails in it, or both have none in common.
    """
    if not (other / "genifer" / "__init__.py").is_file():
        raise GeniferError(
            f"--against: {other} is not a checkout of genifer; give a folder that contains genifer/"
        )
    measured: list[Round] = []
    if not as_json:
        typer.echo(f"{HERE} against {other.resolve()}: milliseconds, and how many times as fast\n")
    for number in range(1, rounds + 1):
        for found in _round(other, what, config, other_config or config, options):
            measured.append(found)
            if not as_json:
                typer.echo(_line(f"round {number}, {found.name}", found.here, found.other, found.ratio))
    if not measured:
        raise GeniferError(f"bench {what}: {HERE} and {other} have no benchmark of the same name")
    names = list(dict.fromkeys(found.name for found in measured))
    if as_json:
        typer.echo(json.dumps({name: _ratios(measured, name) for name in names}, indent=2))
        return
    typer.echo("")
    for name in names:
        ratios = _ratios(measured, name)
        typer.echo(
            f"{name:{NAME_WIDTH}} {statistics.median(ratios):.2f} times as fast "
            f"({min(ratios):.2f} to {max(ratios):.2f}, {rounds} rounds)"
        )


def _ratios(measured: Sequence[Round], name: str) -> list[float]:
    return [found.ratio for found in measured if found.name == name]


def _line(name: str, here: float, other: float, ratio: float) -> str:
    return f"{name:{NAME_WIDTH + 10}} {here:9.1f} {other:9.1f} {ratio:6.2f}"


def _round(
    other: Path, what: str, config: Path, other_config: Path, options: Sequence[str]
) -> Iterator[Round]:
    here = _milliseconds(HERE, what, config, options)
    there = _milliseconds(other, what, other_config, options)
    for name in here:
        if name in there:
            yield Round(name, here[name], there[name])


def _milliseconds(checkout: Path, what: str, config: Path, options: Sequence[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "genifer", "bench", what, "--config", str(config.resolve()), "--json"]
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    done = subprocess.run(
        [*command, *options], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise GeniferError(f"genifer bench fails in {checkout}:\n{done.stderr.strip()}")
    return {figures["name"]: 1000 * figures["seconds"] for figures in json.loads(done.stdout)["figures"]}
