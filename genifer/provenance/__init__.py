"""How results were made: invocations, Snakemake's records beside them, runs recorded with DVC."""
