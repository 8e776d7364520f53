"""Devices, seeds, files and progress; nothing in this package knows about learning."""
