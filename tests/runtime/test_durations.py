"""Spans of time as text."""

from __future__ import annotations

import pytest

from genifer.runtime.durations import clock, duration, span


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0, "1 minute"),
        (0.2, "12 minutes"),
        (0.999, "1.0 hours"),
        (3.42, "3.4 hours"),
        (47.9, "47.9 hours"),
        (48, "2 days"),
    ],
)
def test_duration(hours: float, text: str) -> None:
    assert duration(hours) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (45, "45 s"), (720, "12 min"), (12_000, "3 h 20 min"), (7199, "2 h 0 min")],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 3723)] == ["0:00:00", "0:01:00", "1:02:03"]
