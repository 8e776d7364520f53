"""Two processes that share each batch compute what one computes with the whole batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.two_processes import CASES, Result, by_two, plain


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Result]]:
    return by_two(tmp_path_factory.mktemp("two"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("case", CASES)
def test_the_same_weights_and_scalars(of_two: dict[str, dict[str, Result]], case: str) -> None:
    of_one = plain(CASES[case]())
    first, second = of_two["process 0"][case], of_two["process 1"][case]
    assert set(first) == set(of_one)
    for name, expected in of_one.items():
        torch.testing.assert_close(
            first[name], expected, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
        assert torch.equal(second[name], first[name]), name
