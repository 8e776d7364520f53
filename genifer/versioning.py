"""A run as a stage of DVC."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from genifer.config import load_settings
from genifer.errors import GeniferError
from genifer.runtime.files import whole_file

PATTERN = "quickstart"
"""The stage whose outputs, metrics and plots every other run's stage repeats."""

COMMAND = "snakemake --configfile {}"


def record_run(config: Path, dvc_yaml: Path = Path("dvc.yaml")) -> None:
    """Give a finished run a stage in ``dvc.yaml``, if it has none, and let DVC record what is there.

    Snakemake runs once more and finds nothing to do; what it does find, it makes.

    Args:
        config: run file, in the repository.
        dvc_yaml: of the repository, which is the working folder.

    Raises:
        GeniferError: the run is not finished, or DVC fails.
    """
    run = load_settings(config).run
    if not Path("results", run, "records.json").is_file():
        raise GeniferError(f"results/{run}: is not there; first run: {COMMAND.format(config)}")
    add_stage(run, config, dvc_yaml)
    if subprocess.run([sys.executable, "-m", "dvc", "repro", "--single-item", run], check=False).returncode:
        raise GeniferError(
            f"DVC did not record {run}, for the reason above; mend it, then run this command again"
        )


def add_stage(run: str, config: Path, dvc_yaml: Path) -> None:
    """Add a run's stage and plots to ``dvc.yaml``, after the pattern of the quickstart's."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    try:
        content = yaml.load(dvc_yaml)
        stages, plots = content["stages"], content["plots"]
        pattern = stages[PATTERN]
    except (OSError, YAMLError, KeyError, TypeError) as error:
        raise GeniferError(
            f"{dvc_yaml}: has no plots and stages, with a stage '{PATTERN}' ({error}); run this in "
            "the repository's folder, or bring the file back with: git checkout dvc.yaml"
        ) from error
    if run in stages:
        return
    stage = _for_run(run, pattern)
    stage["desc"] = f"The run of {config}"
    stage["cmd"] = COMMAND.format(config)
    files = dict.fromkeys(["config/config.yaml", str(config), "genifer/recipes.py"])
    stage["params"] = [{file: None} for file in files]
    stages[run] = stage
    plots.extend(_for_run(run, [plot for plot in plots if next(iter(plot)).startswith(PATTERN)]))
    with whole_file(dvc_yaml) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def _for_run(run: str, part: Any) -> Any:
    """A copy of a part of the pattern with the run's name in place of the pattern's."""
    if isinstance(part, dict):
        return {_for_run(run, key): _for_run(run, value) for key, value in part.items()}
    if isinstance(part, list):
        return [_for_run(run, item) for item in part]
    return part.replace(PATTERN, run) if isinstance(part, str) else copy.copy(part)
