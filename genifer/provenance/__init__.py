"""Provenance of results: Snakemake's invocations and records, and runs recorded with DVC."""
