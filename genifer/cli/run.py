"""Commands to check, watch and record runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genifer.cli import options as o
from genifer.errors import GeniferError


@o.shared_options
def check(
    options: o.JobOptions,
    elsewhere: Annotated[
        bool, o.option("--elsewhere", "Jobs run on other machines, so do not check this machine's devices.")
    ] = False,
    gpus: Annotated[
        int | None,
        o.option("--gpus", "GPUs that trainings may use at once, as in Snakemake's --resources gpu=N."),
    ] = None,
) -> None:
    """Check the settings, data and device of a run before it starts."""
    from genifer.job_input import read_run_settings
    from genifer.monitor.preflight import check_run

    run = read_run_settings(options.config, options.settings)
    check_run(run, options.device or run.runtime.device, elsewhere, gpus)


def doctor(
    config: o.RunFile = Path("config/config.yaml"),
    device: o.Device = None,
    as_json: o.AsJson = False,
    write_limits: Annotated[
        Path | None,
        o.option("--write-limits", "Snakemake profile to write the time limits of trainings to."),
    ] = None,
    max_minutes: Annotated[int, o.option("--max-minutes", "Upper bound of the limits.", min=1)] = 1440,
) -> None:
    """Check machine, data, disk space and run time before a long run or a grid of runs.

    Prints one line per check. Exits with 1 if something would stop the run.
    """
    from genifer.grid import load_runs
    from genifer.monitor.doctor import examine, hours_of_trainings, print_findings, would_stop
    from genifer.monitor.limits import limits
    from genifer.monitor.limits import write_limits as write

    runs, stops = load_runs(config), False
    if as_json and len(runs) > 1:
        raise GeniferError(f"--json is for one run, but {config} is a grid file; leave --json out")
    hours: dict[str, float] = {}
    for prefix, run in runs.items():
        if len(runs) > 1 and not as_json:
            typer.echo(f"run {run.run}")
        findings = print_findings(run, examine(run, device or run.runtime.device), as_json)
        stops |= would_stop(findings)
        hours |= {prefix + rule: each for rule, each in hours_of_trainings(findings).items()}
    if write_limits is not None:
        if stops:
            raise GeniferError(f"{write_limits}: no limits were written; first fix what would stop the run")
        write(write_limits, limits(hours, max_minutes))
        typer.echo(f"limits {write_limits}: set-resources: runtime of {', '.join(hours)}", err=as_json)
    raise typer.Exit(int(stops))


def watch(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Names of runs; by default those in progress, else the newest."),
    ] = None,
    once: Annotated[bool, o.option("--once", "Print one plain line per run.")] = False,
    every: Annotated[float, o.option("--every", "Seconds between updates.", min=0.1)] = 2.0,
    results: Annotated[Path, o.option("--results", "Folder of the runs.")] = Path("results"),
) -> None:
    """Show the progress of runs, live.

    Ends when they end; exits with 1 if one has failed or stopped.
    """
    from genifer.monitor.watch.run import watch as show

    raise typer.Exit(0 if show(runs or [], results, every, once) else 1)


def summary(
    runs: Annotated[list[str] | None, typer.Argument(help="Names of runs; by default the newest.")] = None,
    results: Annotated[Path, o.option("--results", "Folder of the runs.")] = Path("results"),
) -> None:
    """Print the table of methods of finished runs."""
    from genifer.monitor.watch.run import newest
    from genifer.report.summary import finished_run, summary_screen

    typer.echo("\n\n".join(summary_screen(finished_run(run, results)) for run in runs or [newest(results)]))


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names or folders of finished runs.")],
    reference: Annotated[
        str, o.option("--reference", "Method that the others are compared with.")
    ] = "genifer",
    output: Annotated[Path, o.option("--output", "Folder for the files.")] = Path("comparison"),
    results: Annotated[Path, o.option("--results", "Folder of the runs.")] = Path("results"),
    apart: Annotated[bool, o.option("--apart", "Show each run separately; never average over runs.")] = False,
) -> None:
    """Compare methods of finished runs in one table and one figure.

    Writes comparison.csv, .md, .tex, .pdf and .svg, and averages.pdf and .svg.
    """
    from genifer.report.comparison import write_comparison
    from genifer.report.summary import finished_run

    folders = [finished_run(run, results, "accuracy") for run in runs]
    typer.echo(write_comparison(list(dict.fromkeys(folders)), reference, output, apart=apart))
    typer.echo(f"files  {output}/comparison.csv, .md, .tex, .pdf, .svg, averages.pdf, .svg")


def report(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Names or folders of finished runs; by default the newest.")
    ] = None,
    config: Annotated[
        list[Path] | None,
        o.option("--config", "Run file or grid file, instead of names; later files override earlier ones."),
    ] = None,
    output: Annotated[
        Path | None,
        o.option("--output", "The page to write, if there is one run; by default report.html in its folder."),
    ] = None,
    with_snakemake: Annotated[
        bool, o.option("--with-snakemake", "Also write Snakemake's own report beside the page.")
    ] = False,
    results: Annotated[Path, o.option("--results", "Folder of the runs.")] = Path("results"),
) -> None:
    """Write the report of finished runs: one HTML page per run with all plots and tables.

    Prints the path of each page.
    """
    from genifer.report.html_report.command import write_reports

    for page in write_reports(runs or [], config or [], output, results, with_snakemake=with_snakemake):
        typer.echo(page)


def record(config: o.RunFile) -> None:
    """Record a finished run with DVC."""
    from genifer.provenance.dvc import record_run

    record_run(config)


COMMANDS = {"Runs": (check, doctor, watch, summary, report, compare, record)}
