from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.local_slurm import LocalSlurm, local_slurm, missing


@pytest.fixture(autouse=True, scope="session")
def _only_if_asked_for(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--cluster"):
        pytest.skip("make test-cluster runs it")
    if missing():
        pytest.fail(f"no Slurm can be started here: {missing()}")


@pytest.fixture(scope="session")
def slurm(_only_if_asked_for: None) -> Iterator[LocalSlurm]:
    """A Slurm that runs, with two nodes of two pretended GPUs each and one without."""
    with local_slurm() as running:
        yield running
