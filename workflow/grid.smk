# Several runs in one invocation: each is the workflow of the Snakefile, as a module with its own settings.
# Which runs there are, says the grid file (config/grid.yaml), which genifer/grid.py reads.
import os
import sys
from pathlib import Path
from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

# Modules whose names are not known before.
min_version("9.27")

sys.path.insert(0, str(Path(workflow.basedir).parent))

from genifer.errors import GeniferError
from genifer.grid import parse_grid

if not workflow.overwrite_configfiles:

    configfile: "config/grid.yaml"


report: "report/grid.rst"


try:
    GRID = parse_grid(config, source="grid")
except GeniferError as error:
    raise WorkflowError(str(error)) from None

config["runs"] = list(GRID.runs)
# MLflow's experiment is the grid, unless its own variable says otherwise.
os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", GRID.name)


for run in GRID.runs:
    prefix = f"{run}_"

    module:
        name: run
        snakefile:
            "Snakefile"
        config:
            dict(GRID.runs[run])

    if GRID.shares_download(run):

        use rule * from run exclude download_data as prefix*

    else:

        use rule * from run as prefix*


def shown(path):
    """A file of the comparison, of which the report shows the figures."""
    if not path.endswith(".svg"):
        return path
    return report(
        path,
        caption="report/comparison.rst",
        category=GRID.name,
        labels={"shows": Path(path).stem},
    )


rule compare:
    """Put the methods of all runs into one table and one figure."""
    input:
        GRID.compared,
    output:
        [shown(path) for path in GRID.comparison],
    log:
        f"{GRID.comparison[0]}.log",
    localrule: True
    conda:
        "../environment.yml"
    params:
        runs=GRID.results,
        reference=GRID.reference,
        folder=subpath(output[0], parent=True),
    shell:
        """
        python -m genifer --log {log:q} compare {params.runs:q} --apart \
            --reference {params.reference:q} \
            --output {params.folder:q}
        """


rule all:
    default_target: True
    input:
        GRID.comparison,
        [layout.final for layout in GRID.layouts.values()],


def each_run(handler, **arguments):
    """Call a function of workflow/rules/common.smk in every run's module."""
    for run in GRID.runs:
        getattr(globals()[run], handler)(**arguments)


onstart:
    each_run("start_run")


onsuccess:
    each_run("end_run", succeeded=True)


onerror:
    each_run("end_run", succeeded=False)
