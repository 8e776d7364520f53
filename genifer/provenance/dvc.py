"""Record runs with DVC: one DVC stage per run in ``dvc.yaml``."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from genifer.config import RunSettings
from genifer.errors import GeniferError
from genifer.layout import RECORDS, Layout
from genifer.run_file import load_settings
from genifer.runtime.files import atomic_write

PATTERN = "quickstart"
"""The DVC stage that serves as the pattern for the outputs, metrics and plots of other runs."""

COMMAND = "snakemake --configfile {}"
WORKFLOW = "workflow"
DEFAULTS, VERSIONS = "config/config.yaml", "genifer/versions.py"


def record_run(config: Path, dvc_yaml: Path = Path("dvc.yaml")) -> None:
    """Record a finished run with DVC, as a DVC stage in ``dvc.yaml``.

    Snakemake runs once more and makes whatever is missing.

    Args:
        config: run file in the repository.
        dvc_yaml: DVC's file in the repository, which must be the working directory.

    Raises:
        GeniferError: the run is not finished, or DVC fails.
    """
    settings = load_settings(config)
    results = Path(Layout(settings).results)
    if not (results / RECORDS).is_file():
        raise GeniferError(f"{results}: there is no finished run; first make it: {COMMAND.format(config)}")
    add_stage(settings, config, dvc_yaml)
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", settings.run]
    if subprocess.run(command, check=False).returncode:
        raise GeniferError(
            f"DVC did not record {settings.run}; fix the error above and run the same command again"
        )


def add_stage(settings: RunSettings, config: Path, dvc_yaml: Path) -> None:
    """Add a run's DVC stage and plots to ``dvc.yaml``, or update the inputs of an existing stage.

    Raises:
        GeniferError: ``dvc.yaml`` lacks the pattern, or a plugin is outside the repository.
    """
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    try:
        content = yaml.load(dvc_yaml)
        stages, plots = content["stages"], content["plots"]
        pattern = stages[PATTERN]
    except (OSError, YAMLError, KeyError, TypeError) as error:
        raise GeniferError(
            f"{dvc_yaml}: has no plots, or no stage '{PATTERN}' ({error}); run this command in the "
            "repository's folder, or restore the file with: git checkout dvc.yaml"
        ) from error
    run = settings.run
    current = {"cmd": COMMAND.format(config), **stage_inputs(settings, config)}
    if run not in stages:
        stages[run] = _for_run(run, pattern)
        stages[run]["desc"] = f"The run of {config}"
        plots.extend(_for_run(run, [plot for plot in plots if next(iter(plot)).startswith(PATTERN)]))
    elif all(stages[run].get(name) == value for name, value in current.items()):
        return
    stages[run].update(current)
    with atomic_write(dvc_yaml) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def stage_inputs(settings: RunSettings, config: Path) -> dict[str, list[Any]]:
    """Return the inputs of a run's DVC stage: ``deps``, files by content, and ``params``, values in files.

    Values are settings and the versions of jobs, methods and data set. Plugins and classes without a version
    of their own are compared by the content of their files. Installed packages do not count.
    """
    deps = [WORKFLOW, *(_in_repository(path) for path in settings.plugins)]
    params: dict[str, list[str]] = {DEFAULTS: [], str(config): [], VERSIONS: ["VERSIONS"]}
    used: list[type] = [variant.method for variant in settings.variants]
    used.append(settings.registry.dataset(settings.data.dataset))
    for cls in dict.fromkeys(base for one in used for base in one.__mro__):
        # Only classes that run files can name have a name of their own.
        if "name" in vars(cls) and vars(cls).get("source_hash") is None:
            file = f"{cls.__module__.replace('.', '/')}.py"
            if "version" in vars(cls):
                params.setdefault(file, []).append(f"{cls.__name__}.version")
            else:
                deps.append(file)
    return {"deps": deps, "params": [{file: keys or None} for file, keys in params.items()]}


def _in_repository(path: Path) -> str:
    """Return a path relative to the repository, as DVC needs it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        raise GeniferError(
            f"plugins: {path} lies outside the repository {Path.cwd()}, so clones would lack it; move it "
            "into the repository"
        ) from None


def _for_run(run: str, part: Any) -> Any:
    """Copy a part of the pattern, with the run's name in place of the pattern's."""
    if isinstance(part, dict):
        return {_for_run(run, key): _for_run(run, value) for key, value in part.items()}
    if isinstance(part, list):
        return [_for_run(run, item) for item in part]
    return part.replace(PATTERN, run) if isinstance(part, str) else copy.copy(part)
