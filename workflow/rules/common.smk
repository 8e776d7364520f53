# Settings of the run, and the names of its files.
import json
import subprocess
import sys
from pathlib import Path

# The code of this checkout, as in the jobs, also where another one is installed.
sys.path.insert(0, str(Path(workflow.basedir).parent))

from genifer.config import parse_settings, stage_settings
from genifer.errors import GeniferError
from genifer.records import record, restore
from snakemake.exceptions import WorkflowError

try:
    RUN = parse_settings(config, source="settings")
except GeniferError as error:
    raise WorkflowError(str(error)) from None

TASKS = range(len(RUN.scenario.tasks))
# The run goes on after this task: 0, unless it starts from checkpoints of a later one.
FIRST = RUN.start.task
LATER_TASKS = TASKS[FIRST + 1 :]
EVALUATED = RUN.evaluation.split
SPLITS = ["train", "test"] + (
    ["validation"] if RUN.data.validation_fraction > 0 else []
)
# Where and on how many threads a stage computes, whether it compiles, how often it saves its state
# and when it gives up does not change its results, so these are resources of the rules and no parameters.
DEVICE = RUN.runtime.device
GPU = 0 if DEVICE == "cpu" else 1
THREADS = RUN.runtime.threads
COMPILE = RUN.runtime.compile
RESUME_EVERY = str(RUN.runtime.resume_every)
COLLAPSE_LIMIT = str(RUN.runtime.collapse_limit)

DOWNLOADED = "results/downloads/cifar-100-python.tar.gz"
NEEDS_DOWNLOAD = RUN.data.dataset == "cifar100" and RUN.data.archive is None

RESULTS = f"results/{RUN.run}"
STAGES = f"{RESULTS}/stages/seed_{{seed}}"
FIRST_TASK = f"{STAGES}/first_task"
NEXT_TASK = f"{STAGES}/{{method}}/task_{{task}}"


wildcard_constraints:
    seed=r"\d+",
    task=r"\d+",
    method="genifer|finetune|joint",


def settings_of(stage):
    """The settings that a stage depends on, as JSON: the rule's params and the stage's only source."""
    return json.dumps(stage_settings(RUN, stage), sort_keys=True)


def check_before_start():
    """Data, device and time on a CPU, before the first job: what would stop the run stops it now."""
    check = [
        sys.executable,
        "-m",
        "genifer",
        "check",
        "--settings",
        RUN.model_dump_json(),
        *(["--elsewhere"] if workflow.non_local_exec else []),
    ]
    if subprocess.run(check).returncode:
        raise WorkflowError("The run was not started, for the reason above.")


if workflow.is_main_process:
    try:
        for note in restore(Path(RESULTS)):
            print(note, file=sys.stderr)
    except GeniferError as error:
        raise WorkflowError(str(error)) from None


# The archive and the prepared images


def archive():
    """The archive that the data set is prepared from, where it is one file."""
    if NEEDS_DOWNLOAD:
        return DOWNLOADED
    path = RUN.data.archive
    return str(path) if path is not None and path.is_file() else []


def images_of(split, tasks):
    return [f"{RESULTS}/data/task_{task}_{split}.safetensors" for task in tasks]


def images_of_task(wildcards):
    return images_of("train", [wildcards.task])


def images_so_far(wildcards):
    return images_of("train", range(int(wildcards.task) + 1))


def evaluated_images(wildcards):
    return images_of(EVALUATED, range(int(wildcards.task) + 1))


def first_evaluated_images():
    return images_of(EVALUATED, range(FIRST + 1))


def given(path):
    """A checkpoint that the settings name, if they do."""
    return [] if path is None else str(path)


def repeated(option, values):
    """An option of the command line, once for each value."""
    return " ".join(f"{option} '{value}'" for value in values)


# Stages: the first task is shared by all methods, later ones are each method's own

FIRST_CLASSIFIER = f"{FIRST_TASK}/pretrain_classifier/classifier.safetensors"
FIRST_GAN = f"{FIRST_TASK}/pretrain_gan/gan.safetensors"


def first_task(seed, file):
    return f"{FIRST_TASK.format(seed=seed)}/{file}"


def next_task(method, seed="{seed}", task="{task}"):
    return NEXT_TASK.format(method=method, seed=seed, task=task)


def task_before(method, file, file_of_first_task):
    """Input function: a file of the task before, which for the first of the later tasks is shared."""

    def path(wildcards):
        before = int(wildcards.task) - 1
        if before == FIRST:
            return first_task(wildcards.seed, file_of_first_task)
        return f"{next_task(method, wildcards.seed, before)}/{file}"

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


def classifier_of_task(wildcards):
    folder = next_task(wildcards.method, wildcards.seed, wildcards.task)
    return f"{folder}/train_{wildcards.method}/classifier.safetensors"


def gan_stage(seed, task):
    """The folder of the GAN that was trained on a task."""
    if int(task) == FIRST:
        return first_task(seed, "pretrain_gan")
    return f"{next_task('genifer', seed, task)}/train_gan"


def gan_of_task(wildcards):
    return f"{gan_stage(wildcards.seed, wildcards.task)}/gan.safetensors"


def gan_tasks():
    """Tasks after which a GAN is trained: all but the last, and none without genifer."""
    return TASKS[FIRST:-1] if "genifer" in RUN.methods else []


def trained_gan_tasks():
    """Those of them that this run trains."""
    return [task for task in gan_tasks() if task > FIRST or RUN.start.gan is None]


# Tables and plots


def evaluations():
    shared = [first_task(seed, "evaluate/accuracy.csv") for seed in RUN.seeds]
    return shared + expand(
        f"{NEXT_TASK}/evaluate/accuracy.csv",
        method=RUN.methods,
        seed=RUN.seeds,
        task=LATER_TASKS,
    )


def metrics_of_methods():
    return [f"{RESULTS}/metrics/{method}.json" for method in RUN.methods]


def trainings():
    """Picture and folder of every training."""
    for seed in RUN.seeds:
        if RUN.start.classifier is None:
            yield "training_first_task", first_task(seed, "pretrain_classifier")
        for method in RUN.methods:
            for task in LATER_TASKS:
                folder = f"{next_task(method, seed, task)}/train_{method}"
                yield f"training_{method}", folder
        for task in trained_gan_tasks():
            yield "training_gan", gan_stage(seed, task)


def training_metrics():
    return [f"{folder}/metrics.csv" for _, folder in trainings()]


def training_plots():
    return pictures(*dict.fromkeys(picture for picture, _ in trainings()))


def pictures(*names):
    """Plots are drawn twice: as PNG and as SVG."""
    return [
        f"{RESULTS}/plots/{name}.{suffix}"
        for name in names
        for suffix in ("png", "svg")
    ]


def accuracy_plots():
    matrices = [f"accuracy_matrix_{method}" for method in RUN.methods]
    return pictures("accuracy", "forgetting", *matrices)


def final_outputs():
    """All that a run is for: its tables and plots."""
    # In the direct mode the generator makes features, which are no pictures.
    seeds = RUN.seeds if RUN.gan.generated_stage == 0 else []
    replay = [
        f"replay_seed_{seed}_task_{task}" for seed in seeds for task in gan_tasks()
    ]
    return [
        f"{RESULTS}/accuracy.csv",
        f"{RESULTS}/summary.csv",
        *metrics_of_methods(),
        f"{RESULTS}/training.csv",
        *accuracy_plots(),
        *pictures(*replay),
        *training_plots(),
    ]
