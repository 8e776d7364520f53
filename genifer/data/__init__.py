"""Data sets, their preparation into one file a task, and batches on the device."""
