# The grid, and the functions that its rules and handlers call.
import os
import sys
from pathlib import Path

# Use this checkout's code, as in rules/common.smk.
sys.path.insert(0, str(Path(workflow.basedir).parent))

from genifer.errors import GeniferError
from genifer.grid import parse_grid
from snakemake.exceptions import WorkflowError

try:
    GRID = parse_grid(config, source="grid")
except GeniferError as error:
    raise WorkflowError(str(error)) from None

config["runs"] = list(GRID.runs)
# MLflow's experiment and W&B's project have the grid's name, unless their own variables say otherwise.
os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", GRID.name)
os.environ.setdefault("WANDB_PROJECT", GRID.name)


def shown(path):
    """A file of the comparison, of which the report shows the figures."""
    if not path.endswith(".svg"):
        return path
    return report(
        path,
        caption="report/grid/comparison.rst",
        category=GRID.name,
        labels={"shows": Path(path).stem},
    )


def each_run(handler, **arguments):
    """Call a function of rules/common.smk in every run's module."""
    for run in GRID.runs:
        getattr(globals()[run], handler)(**arguments)
