"""Names of a run's files and folders."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path("results")
DOWNLOADS = RESULTS / "downloads"
GRIDS = RESULTS / "grids"
IMAGENET = DOWNLOADS / "imagenet"

CLASSIFIER, GAN = "classifier.safetensors", "gan.safetensors"
METRICS, BENCHMARK = "metrics.csv", "benchmark.tsv"
COMPARISON = (
    *(f"comparison.{suffix}" for suffix in ("csv", "md", "tex", "pdf", "svg")),
    *("averages.pdf", "averages.svg"),
)
"""What `genifer compare` writes."""
PLOT_FORMATS = ("png", "svg", "pdf")
"""File formats of each plot; the report shows the first."""
PLAN, RECORDS, PROVENANCE = "plan.json", "records.json", "provenance.json"
REPORT, SNAKEMAKE_REPORT = "report.html", "report-snakemake.html"

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
"""Folder of the captions of plots and tables; part of a checkout, not of the installed package."""


def place(group: str, task: int, job: str) -> str:
    """Return the folder of a job, relative to its seed's folder."""
    return f"{group}/task_{task}/{job}"


def jobs_folder(results: str | Path) -> str:
    return f"{results}/jobs"


def seed_folder(results: str | Path, seed: int | str) -> str:
    """Return the folder of a seed's jobs."""
    return f"{jobs_folder(results)}/seed_{seed}"


def table_path(results: str | Path, name: str) -> str:
    """Return the path of a CSV file of a run."""
    return f"{results}/{name}.csv"


def plots_folder(results: str | Path) -> str:
    return f"{results}/plots"


def pages_folder(results: str | Path) -> str:
    return f"{results}/tables"
