"""Devices, seeds, files and progress: nothing here knows about learning."""
