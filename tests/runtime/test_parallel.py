"""Two processes that share each batch compute what one computes with the whole batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from support.two_processes import CASES, PAPER, Result, by_two, plain

log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Result]]:
    return by_two(tmp_path_factory.mktemp("two"), "CASES")


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("case", CASES)
def test_the_same_weights_and_scalars(of_two: dict[str, dict[str, Result]], case: str) -> None:
    with threads(1):
        of_one = plain(CASES[case]())
    first, second = of_two["process 0"][case], of_two["process 1"][case]
    assert set(first) == set(of_one)
    for name, expected in of_one.items():
        torch.testing.assert_close(
            first[name], expected, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
        assert torch.equal(second[name], first[name]), name


@pytest.mark.slow
def test_the_papers_sizes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One process of two threads, and two processes of one thread; ``--log-cli-level INFO`` shows times."""
    of_two = by_two(tmp_path_factory.mktemp("paper"), "PAPER")
    for name, steps in PAPER.items():
        with threads(2):
            one = plain(steps())
        two, second = of_two["process 0"][name], of_two["process 1"][name]
        off = {
            when: float((two[f"weights {when}"] - one[f"weights {when}"]).norm())
            / float((one[f"weights {when}"] - one["weights before"]).norm())
            for when in ("after one step", "after all steps")
        }
        seconds, waited = (
            two["seconds"].median(),
            torch.stack([two["communication"], second["communication"]]),
        )
        log.info(
            f"{name}: seconds per step {one['seconds'].median():.2f} by one, {seconds:.2f} by two, of which "
            f"{float(waited.mean(1).min()):.3f} communication; weights off, relative to their change: "
            + ", ".join(f"{value:.1e} {when}" for when, value in off.items())
        )
        for scalar in set(one) - {"seconds", "communication"}:
            if not scalar.startswith("weights"):
                torch.testing.assert_close(two[scalar], one[scalar], rtol=1e-4, atol=1e-5)
        assert torch.equal(two["weights after all steps"], second["weights after all steps"])
        assert off["after one step"] < 1e-2
