# The run's settings and its layout, which all rules read.
import os
import sys
from functools import cache
from pathlib import Path

# The code of this checkout, as in the jobs, also where another one is installed.
sys.path.insert(0, str(Path(workflow.basedir).parent))

from genifer.errors import GeniferError
from genifer.layout import Layout
from genifer.monitor.start import check_elsewhere, trainings_at_once
from genifer.monitor.watch.plan import end_plan, write_plan
from genifer.provenance.snakemake_records import record, restore
from genifer.run_file import parse_settings
from snakemake.exceptions import WorkflowError

try:
    LAYOUT = Layout(parse_settings(config, source="settings"))
    if workflow.is_main_process:
        for note in restore(Path(LAYOUT.results)):
            print(note, file=sys.stderr)
except GeniferError as error:
    raise WorkflowError(str(error)) from None

RUN = LAYOUT.settings
# In a grid's report the run comes first, because all runs have the same plots.
IN_GRID = Path(workflow.main_snakefile).name == "grid.smk"
JOBS = f"{LAYOUT.results}/jobs/seed_{{seed}}/{{group}}/task_{{task}}"


@cache
def captions():
    """Text for the captions in workflow/report, from the run's tables; pandas is imported for it alone."""
    from genifer.report.captions import Captions

    return Captions(LAYOUT)


config["captions"] = captions
# MLflow's experiment is the run, unless its own variable says otherwise.
os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", RUN.run)


wildcard_constraints:
    group=r"[^/]+",
    seed=r"\d+",
    task=r"\d+",


def files_of(job):
    """Input function: the files that a job needs."""
    return lambda wildcards: LAYOUT.job(job, **wildcards).inputs


def settings_of(job):
    """Params function: the settings that a job depends on, as JSON."""
    return lambda wildcards: LAYOUT.job(job, **wildcards).settings_json()


def checkpoints_of(job):
    """Params function: the options of a training that name checkpoints."""
    return lambda wildcards: LAYOUT.job(job, **wildcards).checkpoint_options


def shown(picture, path):
    """A file that the report shows."""
    return report(
        path,
        caption=f"../report/{picture.caption}.rst",
        category=RUN.run if IN_GRID else picture.category,
        subcategory=picture.category if IN_GRID else None,
        labels=picture.labels,
    )


def drawn(pictures):
    """The files of plots, of which the report shows the PNG."""
    files = [(picture, *LAYOUT.plot(picture)) for picture in pictures]
    return [path for picture, png, svg in files for path in (shown(picture, png), svg)]


def start_run():
    """Before the first job: what would stop the run stops it now."""
    limit = workflow.global_resources.get("gpu")
    gpus = limit and limit.value
    if not check_elsewhere(RUN, elsewhere=workflow.non_local_exec, gpus=gpus):
        raise WorkflowError("The run was not started, for the reason above.")
    cores = workflow.global_resources["_cores"].value
    write_plan(LAYOUT, trainings_at_once(RUN, cores, gpus))


def end_run(succeeded):
    record(Path(LAYOUT.results))
    end_plan(Path(LAYOUT.results), succeeded)
