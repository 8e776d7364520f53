"""`genifer report`: find the runs, and write their pages and Snakemake's own report."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from genifer.config import plain
from genifer.errors import GeniferError
from genifer.grid import load_runs
from genifer.layout import PROVENANCE, REPORT, SNAKEMAKE_REPORT, Layout
from genifer.monitor.watch.run import newest
from genifer.provenance.invocations import last_settings
from genifer.report.html_report import check_results, write_report
from genifer.report.summary import finished_run
from genifer.run_file import parse_settings, run_file_text


def write_reports(
    runs: Sequence[str],
    run_files: Sequence[Path],
    output: Path | None,
    results: Path,
    *,
    with_snakemake: bool = False,
) -> list[Path]:
    """Write the reports of runs.

    Args:
        runs: names or folders of runs, by default the run started last; the settings are those with which
            they were last made.
        run_files: a run file or grid file, instead of ``runs``; later files override earlier ones.
        output: the page to write, if there is one run; by default in the run's folder.
        results: folder of all runs.
        with_snakemake: also write Snakemake's own report.

    Returns:
        The paths of the pages.

    Raises:
        GeniferError: both runs and run files are given, there is no run or it has no results, or Snakemake's
            report fails.
    """
    if runs and run_files:
        raise GeniferError("name either runs, such as quickstart, or their run file with --config")
    if run_files:
        layouts = _from_files(run_files, results)
    else:
        layouts = [_named(run, results) for run in runs or [newest(results)]]
    if output is not None and len(layouts) > 1:
        raise GeniferError(
            f"--output: {output} is one file, but there are {len(layouts)} runs; leave --output out"
        )
    return [_write(layout, output, with_snakemake) for layout in layouts]


def _write(layout: Layout, output: Path | None, with_snakemake: bool) -> Path:
    page = output or Path(layout.results, REPORT)
    check_results(layout)
    if with_snakemake:
        write_snakemake_report(layout, page.with_name(SNAKEMAKE_REPORT))
    return write_report(layout, page)


def _from_files(run_files: Sequence[Path], results: Path) -> list[Layout]:
    return [Layout(settings, results) for settings in load_runs(*run_files).values()]


def _named(run: str, results: Path) -> Layout:
    folder = finished_run(run, results)
    if not (folder / PROVENANCE).is_file():
        raise GeniferError(
            f"{folder / PROVENANCE}: does not exist, so the settings of the run are unknown; name its run "
            "file instead: --config FILE"
        )
    settings = parse_settings(last_settings(folder) | {"run": folder.name}, str(folder / PROVENANCE))
    return Layout(settings, folder.parent)


def write_snakemake_report(layout: Layout, output: Path) -> None:
    """Write Snakemake's own report of a run.

    Raises:
        GeniferError: Snakemake fails.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        run_file = Path(folder, "run.yaml")
        run_file.write_text(run_file_text(plain(layout.settings)), encoding="utf-8")
        options = ["--configfile", str(run_file), "--report", str(output)]
        command = [sys.executable, "-m", "snakemake", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise GeniferError(
            f"{output}: Snakemake did not write its report of {layout.settings.run}:\n{last}\n"
            "Finish the run and call this in the workflow's folder, or leave out --with-snakemake"
        )
