from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.reference import Reference


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = Path(metafunc.config.getoption("--reference-dir"))
    if "augmentation" in metafunc.fixturenames:
        keys = [key for key in np.load(folder / "ada.npz").files if key != "input"]
        metafunc.parametrize("augmentation", keys)
    if "distillation" in metafunc.fixturenames:
        losses = json.loads((folder / "classifier_losses.json").read_text())["losses"]
        metafunc.parametrize("distillation", list(losses))
    if "module_with_discriminator" in metafunc.fixturenames:
        modules = json.loads((folder / "manifest.json").read_text())["modules"]
        metafunc.parametrize(
            "module_with_discriminator", [n for n in modules if n.startswith("discriminator")]
        )


@pytest.fixture(scope="session")
def reference(request: pytest.FixtureRequest) -> Reference:
    return Reference(Path(request.config.getoption("--reference-dir")))
