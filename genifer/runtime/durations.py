"""Spans of time as text."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Format as hours, minutes and seconds, for a counter: ``1:02:03``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def duration(hours: float) -> str:
    """Format an estimate in one unit: ``12 minutes``, ``3.4 hours`` or ``2 days``."""
    minutes = max(round(60 * hours), 1)
    if minutes < 60:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def span(seconds: float) -> str:
    """Format a measured time, short enough for tables and plots: ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
