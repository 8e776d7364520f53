"""Data sets: one file each. To add one, see docs/add-a-data-set.md."""
