# The run's settings and layout, used by all rules.
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import SharedFSUsage

# Use this checkout's code here and in the jobs, even if another version is installed or another workflow uses this one
# as a module. Rules loaded from a git host have no checkout, so they need the installed package.
CHECKOUT = Path(str(workflow.current_basedir)).resolve().parent.parent
HAS_CODE = (CHECKOUT / "genifer").is_dir()
if HAS_CODE:
    sys.path.insert(0, str(CHECKOUT))
elif find_spec("genifer") is None:
    raise WorkflowError(
        f"The package genifer is not installed in {sys.prefix}; install the version whose rules are used: "
        "pip install git+https://..., with the repository and the tag of the module"
    )

from genifer.errors import GeniferError
from genifer.layout import PROVENANCE, Layout, table_path
from genifer.monitor.start import check_elsewhere, missing_here, trainings_at_once
from genifer.monitor.watch.plan import end_plan, write_plan
from genifer.provenance.invocations import begin_invocation, end_invocation
from genifer.provenance.snakemake_records import record, restore
from genifer.run_file import parse_settings
from genifer.runtime.packages import import_first_from
from genifer.runtime.storage import Storage

if HAS_CODE:
    import_first_from(CHECKOUT)

paths = workflow.modifier.path_modifier
if paths.prefix or paths.modifies_prefixes:
    raise WorkflowError(
        "prefix and replace_prefix of a module would not reach the paths in genifer's commands, so they are not "
        "allowed. The setting 'run' names the folder of the results; rules get other names with: "
        "use rule * from ... as my_*"
    )

# Jobs get local copies of files in remote storage, so options are made from the rule's inputs. Without storage they are
# not, because Snakemake does not record params made from inputs and would treat those of recorded runs as changed.
IN_STORAGE = workflow.storage_settings.default_storage_provider is not None
if IN_STORAGE:
    STORAGE = Storage(
        workflow.storage_settings.default_storage_provider,
        workflow.storage_settings.default_storage_prefix or "",
        workflow.storage_registry.default_storage_provider,
    )
# Whether jobs find the local copies where this process puts them, as they do unless a cluster has no shared file system.
COPIES_ARE_SHARED = (
    SharedFSUsage.STORAGE_LOCAL_COPIES in workflow.storage_settings.shared_fs_usage
)

# Left by an earlier "use rule" from the same module.
config.pop("captions", None)
try:
    LAYOUT = Layout(parse_settings(config, source="settings"))
    if workflow.is_main_process:
        # While it reads the rules, Snakemake does not tell them the targets.
        LAYOUT.check_targets(sys.argv[1:])
        if IN_STORAGE:
            # Fails here, once, if the storage does not answer. Snakemake would ask for every file, several times.
            STORAGE.has(f"{LAYOUT.results}/{PROVENANCE}")
        for note in restore(Path(LAYOUT.results)):
            print(note, file=sys.stderr)
        if workflow.output_settings.dryrun:
            for note in missing_here(LAYOUT):
                logger.warning(note)
except GeniferError as error:
    raise WorkflowError(str(error)) from None

RUN = LAYOUT.settings
# Whether another workflow, such as the grid, uses this one as a module. Its report then lists the run first, because
# all runs have the same plots.
IN_MODULE = Path(workflow.main_snakefile).resolve() != CHECKOUT / "workflow/Snakefile"
JOBS = f"{LAYOUT.results}/jobs/seed_{{seed}}/{{group}}/task_{{task}}"


@cache
def captions():
    """Text for the captions in workflow/report, from the run's tables; pandas is imported for it alone."""
    from genifer.report.captions import Captions

    return Captions(LAYOUT)


config["captions"] = captions
# MLflow's experiment and W&B's project have the run's name, unless their own variables say otherwise.
os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", RUN.run)
os.environ.setdefault("WANDB_PROJECT", RUN.run)


wildcard_constraints:
    group=r"[^/]+",
    seed=r"\d+",
    task=r"\d+",


def files_of(job):
    """Input function: the files that a job needs."""
    return lambda wildcards: {
        name: of_storage(paths)
        for name, paths in LAYOUT.job(job, **wildcards).inputs.items()
    }


def of_storage(paths):
    """Paths, of which those that no rule makes are read where they are, also if results lie in a storage."""
    if isinstance(paths, list):
        return [of_storage(path) for path in paths]
    return paths if paths.startswith("results/") else local(paths)


def log_of_job(path):
    """A log. It stays on this machine, because a storage that refuses a job's log stops the whole run, not one job."""
    return local(path) if IN_STORAGE and COPIES_ARE_SHARED else path


def settings_of(job):
    """Params function: the settings that a job depends on, as JSON."""
    return lambda wildcards: LAYOUT.job(job, **wildcards).settings_json()


def checkpoints_of(job):
    """Params function: the options of a training that name checkpoints."""
    if IN_STORAGE:
        return lambda wildcards, input: LAYOUT.job(job, **wildcards).checkpoint_options(
            dict(input.items())
        )
    return lambda wildcards: LAYOUT.job(job, **wildcards).checkpoint_options()


def archive_option():
    """Params: the option that names a downloaded archive."""
    if not LAYOUT.downloaded:
        return []
    if IN_STORAGE:
        return lambda wildcards, input: ["--archive", str(input.archive)]
    return ["--archive", LAYOUT.downloaded]


def shown(picture, path):
    """A file that the report shows."""
    return report(
        path,
        caption=f"../report/{picture.caption}.rst",
        category=RUN.run if IN_MODULE else picture.category,
        subcategory=picture.category if IN_MODULE else None,
        labels=picture.labels,
    )


def drawn(pictures):
    """The files of plots, of which the report shows the PNG."""
    files = [(picture, *LAYOUT.plot(picture)) for picture in pictures]
    return [
        path
        for picture, png, *others in files
        for path in (shown(picture, png), *others)
    ]


def jobs_of_run(finished=False):
    """Names of the rules of the jobs that make files of the run: planned, or finished."""
    dag = workflow.dag
    return [
        job.rule.name
        for job in dag.needrun_jobs(exclude_finished=False)
        if (dag.finished(job) or not finished)
        and any(f"{LAYOUT.results}/" in path for path in job.output)
    ]


def results_here():
    """The run's folder on this machine; with a storage, that of the local copies."""
    return STORAGE.copy_of(LAYOUT.results) if IN_STORAGE else Path(LAYOUT.results)


def start_run():
    """Before the first job: what would stop the run stops it now."""
    limit = workflow.global_resources.get("gpu")
    gpus = limit and limit.value
    if not check_elsewhere(RUN, elsewhere=workflow.non_local_exec, gpus=gpus):
        raise WorkflowError("The run was not started, for the reason above.")
    cores = workflow.global_resources["_cores"].value
    provenance = f"{LAYOUT.results}/{PROVENANCE}"
    try:
        if jobs_of_run():
            if IN_STORAGE:
                STORAGE.fetch(provenance)
            deployment = workflow.deployment_settings.deployment_method
            begin_invocation(
                results_here(),
                RUN,
                sys.argv,
                checkout=CHECKOUT if HAS_CODE else None,
                deployment=[method.name.lower() for method in deployment],
            )
            if IN_STORAGE:
                STORAGE.store(provenance)
    except GeniferError as error:
        raise WorkflowError(f"{error}. No job was started.") from None
    write_plan(LAYOUT, trainings_at_once(RUN, cores, gpus))


def end_run(succeeded):
    record(Path(LAYOUT.results))
    if jobs_of_run():
        end_invocation(results_here(), jobs_of_run(finished=True), succeeded)
    end_plan(Path(LAYOUT.results), succeeded)
    if IN_STORAGE:
        end_in_storage(succeeded)
    if succeeded and Path(table_path(results_here(), "summary")).exists():
        from genifer.report.summary import summary_screen

        logger.info(f"\n{summary_screen(results_here())}")


def end_in_storage(succeeded):
    """Store the provenance, and fetch what `genifer summary`, `compare` and `report` read."""
    provenance = f"{LAYOUT.results}/{PROVENANCE}"
    try:
        if STORAGE.copy_of(provenance).exists():
            STORAGE.store(provenance)
        for path in LAYOUT.final if succeeded else []:
            STORAGE.fetch(path)
    except GeniferError as error:
        logger.warning(str(error))
