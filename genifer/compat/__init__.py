"""Checkpoints and configs of the published code (Thandiackal et al., 2024)."""
