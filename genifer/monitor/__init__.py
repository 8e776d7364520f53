"""Runs from outside: checks and estimates before they start, `genifer watch` while they are under way."""
