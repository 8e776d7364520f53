from __future__ import annotations

import numpy as np
import pytest

from genifer.config import ScenarioSettings
from genifer.data.scenario import build_scenario
from genifer.errors import GeniferError


def test_the_papers_class_order() -> None:
    scenario = build_scenario(ScenarioSettings(), [str(i) for i in range(100)])
    assert scenario.order[:4] == (68, 56, 78, 8)
    assert list(scenario.labels(1)) == list(range(50, 60))


def test_an_order_drawn_from_the_seed_is_that_of_other_code_bases() -> None:
    names = [str(i) for i in range(100)]
    drawn = ScenarioSettings(class_order="seed")
    assert build_scenario(drawn.of_seed(1993), names) == build_scenario(ScenarioSettings(), names)
    assert build_scenario(drawn.of_seed(7), names).order == tuple(np.random.RandomState(7).permutation(100))
    assert ScenarioSettings(class_order=5).of_seed(7).class_order == 5
    with pytest.raises(GeniferError, match=r"class_order: seed.*--seed"):
        build_scenario(drawn, names)
