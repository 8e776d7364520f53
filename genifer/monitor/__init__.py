"""Observation of runs: checks and estimates before they start, `genifer watch` while they run."""
