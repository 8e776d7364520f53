# Settings of the run, and the names of its files.
import json
import subprocess

from genifer.config import parse_settings, stage_settings
from genifer.errors import GeniferError
from snakemake.exceptions import WorkflowError

try:
    RUN = parse_settings(config, source="settings")
except GeniferError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{RUN.run}"
TASKS = range(len(RUN.scenario.tasks))
LATER_TASKS = TASKS[1:]
# Where a stage computes does not change its results, so it is a resource of the rules and
# no parameter.
DEVICE = RUN.runtime.device


def settings_of(stage):
    """The settings that a stage depends on, as JSON: the rule's params and the stage's only source."""
    return json.dumps(stage_settings(RUN, stage), sort_keys=True)


def check_before_start():
    """Data, device and time on a CPU, before the first job: what would stop the run stops it now."""
    check = ["genifer", "check", "--settings", RUN.model_dump_json()]
    if subprocess.run(check).returncode:
        raise WorkflowError("The run was not started, for the reason above.")


wildcard_constraints:
    seed=r"\d+",
    task=r"\d+",
    method="genifer|finetune|joint",


def images_of(split, tasks):
    """Prepared images of some tasks."""
    return [f"{RESULTS}/data/task_{task}_{split}.safetensors" for task in tasks]


def first_task(seed, file):
    """A file of the first task, which all methods share."""
    return f"{RESULTS}/seed_{seed}/first_task/{file}"


def task_before(method, file, file_of_first_task):
    """Input function: a file of the task before, which for task 1 is the shared first one."""

    def path(wildcards):
        before = int(wildcards.task) - 1
        if before == 0:
            return first_task(wildcards.seed, file_of_first_task)
        return f"{RESULTS}/seed_{wildcards.seed}/{method}/task_{before}/{file}"

    return path


def previous_classifier(method):
    return task_before(
        method,
        f"train_{method}/classifier.safetensors",
        "pretrain_classifier/classifier.safetensors",
    )


previous_gan = task_before(
    "genifer", "train_gan/gan.safetensors", "pretrain_gan/gan.safetensors"
)


def gan_tasks():
    """Tasks after which a GAN is trained: all but the last, and none without genifer."""
    return TASKS[:-1] if "genifer" in RUN.methods else []


def pictures(*names):
    """Plots are drawn twice: as PNG and as SVG."""
    return [
        f"{RESULTS}/plots/{name}.{suffix}"
        for name in names
        for suffix in ("png", "svg")
    ]


def final_outputs():
    """All that a run is for: its tables and plots."""
    replay = [
        f"replay_seed_{seed}_task_{task}" for seed in RUN.seeds for task in gan_tasks()
    ]
    training = ["training_classifiers"] + (["training_gans"] if gan_tasks() else [])
    return [
        f"{RESULTS}/accuracy.csv",
        f"{RESULTS}/summary.csv",
        f"{RESULTS}/summary.json",
        *accuracy_plots(),
        *pictures(*replay, *training),
    ]


def accuracy_plots():
    matrices = [f"accuracy_matrix_{method}" for method in RUN.methods]
    return pictures("accuracy", "forgetting", *matrices)
