"""How results were made: Snakemake's records beside them, and runs recorded with DVC."""
