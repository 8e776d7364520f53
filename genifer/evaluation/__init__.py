"""Accuracy after every task, its tables and its plots."""
