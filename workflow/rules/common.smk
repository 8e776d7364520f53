# Settings of the run, and the names of its files.
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

# The code of this checkout, as in the jobs, also where another one is installed.
sys.path.insert(0, str(Path(workflow.basedir).parent))

from genifer.config import parse_settings, stage_settings
from genifer.errors import GeniferError
from genifer.records import record, restore
from genifer.watch.plan import end_plan, planned_trainings, write_plan
from snakemake.exceptions import WorkflowError

try:
    RUN = parse_settings(config, source="settings")
except GeniferError as error:
    raise WorkflowError(str(error)) from None


@cache
def findings():
    """What the captions of the report say of the run, read from its tables when the report is written."""
    from genifer.evaluation.findings import Findings

    return Findings(Path("results", RUN.run), RUN)


config["findings"] = findings

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
TRACKERS = ",".join(RUN.runtime.trackers) or "none"
# MLflow's experiment is the run, unless its own variable says otherwise.
os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", RUN.run)
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


def old_gan(wildcards):
    """The GAN before the one of a task, where there is one."""
    task = int(wildcards.task)
    return (
        []
        if task == FIRST
        else f"{gan_stage(wildcards.seed, task - 1)}/gan.safetensors"
    )


def gan_classifier(wildcards):
    """The classifier that the GAN of a task was trained against."""
    if int(wildcards.task) == FIRST:
        return first_task(wildcards.seed, "pretrain_classifier/classifier.safetensors")
    folder = next_task("genifer", wildcards.seed, wildcards.task)
    return f"{folder}/train_genifer/classifier.safetensors"


# Tables and plots


def evaluations():
    """Folders of all evaluations of classifiers."""
    shared = [first_task(seed, "evaluate") for seed in RUN.seeds]
    return shared + expand(
        f"{NEXT_TASK}/evaluate",
        method=RUN.methods,
        seed=RUN.seeds,
        task=LATER_TASKS,
    )


def tables_of_evaluations():
    return [
        f"{folder}/{table}.csv"
        for folder in evaluations()
        for table in ("accuracy", "confusion")
    ]


def replay_evaluation(seed, task):
    """The folder in which what a GAN replays is compared with real images."""
    if int(task) == FIRST:
        return first_task(seed, "evaluate_replay")
    return f"{next_task('genifer', seed, task)}/evaluate_replay"


def replay_evaluations():
    return [
        f"{replay_evaluation(seed, task)}/replay.csv"
        for seed in RUN.seeds
        for task in gan_tasks()
    ]


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
    names = dict.fromkeys(picture for picture, _ in trainings())
    return [*names, "gan_training"] if "training_gan" in names else [*names]


def jobs():
    """Folders of all jobs that prepare, train and evaluate, for what they cost."""
    evaluated_replay = [str(Path(table).parent) for table in replay_evaluations()]
    trained = [folder for _, folder in trainings()]
    return [f"{RESULTS}/data", *trained, *evaluations(), *evaluated_replay]


def plots(*names, shown=None):
    """Plots are drawn twice: as PNG, which the report shows, and as SVG."""
    paths = []
    for name in names:
        png, svg = (f"{RESULTS}/plots/{name}.{suffix}" for suffix in ("png", "svg"))
        paths += [png if shown is None else report(png, **shown), svg]
    return paths


def in_report(name, category, table=False, caption=None, **labels):
    """How the report shows a file: its caption, its group and what tells it from the others there."""
    caption = caption or (f"table_{name}" if table else name)
    shows = name.replace("_", " ") + (" (table)" if table else "")
    return {
        "caption": f"../report/{caption}.rst",
        "category": category,
        "labels": {"shows": shows, **labels},
    }


def plots_of_trainings():
    """A plot for each kind of training, and one that tells how the GAN fares."""
    return [
        path
        for name in training_plots()
        for path in plots(
            name,
            shown=in_report(
                name,
                "Training",
                caption="training" if name.startswith("training_") else name,
            ),
        )
    ]


def plots_of_methods(name, category):
    """A plot for each method."""
    return [
        path
        for method in RUN.methods
        for path in plots(
            f"{name}_{method}", shown=in_report(name, category, method=method)
        )
    ]


TABLES = {
    "summary": ("Accuracy", {"method": "all"}),
    "accuracy": ("Accuracy", {"method": "all"}),
    "forgotten_classes": ("Forgetting", {"method": "all"}),
    "replay": ("Replay", {"GAN": "all"}),
    "costs": ("Run", {}),
}


def tables():
    """Tables of the run that the report shows as pages."""
    return [name for name in TABLES if name != "replay" or gan_tasks()]


def report_table(name):
    category, labels = TABLES[name]
    shown = in_report(name, category, table=True, **labels)
    return report(f"{RESULTS}/tables/{name}.html", **shown)


def final_outputs():
    """All that a run is for: its tables and plots."""
    # In the direct mode the generator makes features, which are no pictures.
    seeds = RUN.seeds if RUN.gan.generated_stage == 0 else []
    of_gans = [
        f"{kind}_seed_{seed}_task_{task}"
        for seed in seeds
        for task in gan_tasks()
        for kind in ("replay", "nearest")
    ]
    of_methods = [
        f"{kind}_{method}"
        for kind in ("accuracy_matrix", "confusion", "forgotten_classes")
        for method in RUN.methods
    ]
    of_replay = ["replay_agreement", "replay_frechet"] if gan_tasks() else []
    return [
        f"{RESULTS}/accuracy.csv",
        f"{RESULTS}/summary.csv",
        f"{RESULTS}/confusion.csv",
        *metrics_of_methods(),
        f"{RESULTS}/training.csv",
        f"{RESULTS}/costs.csv",
        f"{RESULTS}/replay.csv",
        *plots("accuracy", "forgetting", *of_methods, "costs"),
        *plots(*of_replay, *of_gans, *training_plots()),
        *[f"{RESULTS}/tables/{name}.html" for name in tables()],
    ]


def tell_plan():
    """Write down for `genifer watch` what the run is going to do."""
    files = {
        "data": [path for split in SPLITS for path in images_of(split, TASKS)],
        "evaluations": tables_of_evaluations() + replay_evaluations(),
        "tables and plots": [str(path) for path in final_outputs()],
    }
    gpus = workflow.global_resources.get("gpu")
    # Where jobs go to other machines, Snakemake is given no number of cores.
    cores = workflow.global_resources["_cores"].value or THREADS
    side_by_side = gpus.value if GPU and gpus else cores // THREADS
    folders = [folder for _, folder in trainings()]
    write_plan(
        Path(RESULTS), planned_trainings(RUN, folders), files, max(1, side_by_side)
    )
