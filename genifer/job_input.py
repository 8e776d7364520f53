"""The settings of a job, from a run file or as JSON from the workflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genifer.config import RunSettings
from genifer.errors import GeniferError
from genifer.layout import Layout
from genifer.run_file import load_settings, parse_mapping, parse_settings, with_runtime
from genifer.variants import variant_named
from genifer.versions import parse_json, settings_from_job


def read_job_settings(
    job: str,
    run_file: Path | None,
    passed: str | None,
    runtime: Mapping[str, Any],
    label: str | None = None,
    method: str | None = None,
) -> RunSettings:
    """Read the settings of a job.

    Args:
        run_file, passed: exactly one of them: the run file, or the job's settings as JSON.
        runtime: plugins and ``runtime`` settings given on the command line.
        label: a variant of the run file.
        method: the method that is trained, if any.

    Raises:
        GeniferError: neither or both are given, or they are invalid.
    """
    if passed is not None and run_file is None:
        return settings_from_job(passed, job, runtime)
    run = load_settings(_only(run_file, passed))
    if label is not None or method is not None:
        run = variant_named(run, label, method).settings
    return with_runtime(run, runtime)


def read_run_settings(run_file: Path | None, passed: str | None) -> RunSettings:
    """Read all settings of a run from a run file or from JSON."""
    if passed is not None and run_file is None:
        return parse_settings(parse_mapping(passed, "--settings"), source="settings")
    return load_settings(_only(run_file, passed))


def read_table_settings(job: str, run_file: Path | None, passed: str | None) -> dict[str, Any]:
    """Read from which folders a table is collected (`Layout.table_settings`)."""
    if passed is not None and run_file is None:
        table = parse_json(passed, "--settings")
        return {name: value for name, value in table.items() if name != "version"}
    return Layout(load_settings(_only(run_file, passed))).table_settings[job]


def _only(run_file: Path | None, passed: str | None) -> Path:
    if run_file is None:
        raise GeniferError("--config is missing; give it a run file, such as --config config/quickstart.yaml")
    if passed is not None:
        raise GeniferError("--config and --settings were both given; give only one of them")
    return run_file
