from __future__ import annotations

from genifer.config import ScenarioSettings
from genifer.data.scenario import build_scenario


def test_the_papers_class_order() -> None:
    scenario = build_scenario(ScenarioSettings(), [str(i) for i in range(100)])
    assert scenario.order[:4] == (68, 56, 78, 8)
    assert list(scenario.labels(1)) == list(range(50, 60))
