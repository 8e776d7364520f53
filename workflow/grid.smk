# Several runs in one invocation: each run is the workflow of the Snakefile, as a module with its own settings.
# The grid file (config/grid.yaml), which genifer/grid.py reads, defines the runs.
from snakemake.utils import min_version

# Needed for modules with computed names.
min_version("9.27")


if not workflow.overwrite_configfiles:

    configfile: "config/grid.yaml"


report: "report/grid/grid.rst"


include: "rules/grid.smk"


for run in GRID.runs:
    prefix = f"{run}_"

    module:
        name: run
        snakefile:
            "Snakefile"
        config:
            dict(GRID.runs[run])

    # If several runs need the same download, only one rule makes it.
    if GRID.shares_download(run):

        use rule * from run exclude download_data as prefix*

    else:

        use rule * from run as prefix*


rule compare:
    """Put the methods of all runs into one table and two figures."""
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


onstart:
    each_run("start_run")


onsuccess:
    each_run("end_run", succeeded=True)


onerror:
    each_run("end_run", succeeded=False)
