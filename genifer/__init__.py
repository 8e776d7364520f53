"""Generative feature-driven image replay for continual learning, as a reproducible workflow."""

__version__ = "0.1.0"
