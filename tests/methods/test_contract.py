"""What every method keeps to: the built-in ones, and small ones that use each part of the contract."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.commands import ROOT, TINY, merged
from support.device import DEVICE
from support.in_process import genifer, run
from support.opened_files import opened_files
from support.planned_jobs import command_of

from genifer.config import registry_of
from genifer.layout import Layout, PlannedJob
from genifer.run_file import parse_settings
from genifer.training.checkpoints import load_predictor
from genifer.training.classifier import ClassifierTraining
from genifer.training.loop import Loop

TOYS = ROOT / "tests" / "support" / "toy_methods.py"
REGISTRY = registry_of([TOYS])
METHODS = list(REGISTRY.methods)
STEPS = 4


class Run:
    """A tiny run of all methods: its trainings run when they are first needed, as the workflow runs them."""

    def __init__(self, folder: Path) -> None:
        steps = {
            name: {"steps": STEPS} for name, method in REGISTRY.methods.items() if method.Settings().steps
        }
        runtime = {"device": DEVICE.type, "deterministic": True, "resume_every": 0, "trackers": []}
        changes = {"methods": METHODS, "plugins": [str(TOYS)], "runtime": runtime}
        self.settings = merged(merged(TINY, steps), changes)
        self.file = folder / "run.yaml"
        self.file.write_text(yaml.safe_dump(self.settings))
        self.layout = Layout(parse_settings(self.settings, "run.yaml"), folder)
        self.data = Path(self.layout.results) / "data"
        assert genifer("prepare-data", "--config", self.file, "--output", self.data) == 0

    def trainings(self, method: str) -> list[PlannedJob]:
        """The trainings of a method itself."""
        return [job for job in self.layout.trainings if job.name == f"train_{method}"]

    def evaluations(self, method: str) -> list[PlannedJob]:
        """The evaluations after all tasks that the method learns itself."""
        return [job for job in self.layout.evaluations if job.group == method]

    def command(self, job: PlannedJob, output: Path | None = None) -> list[str]:
        """The command line of a job, as the workflow has it."""
        options = ["--device", DEVICE.type, "--runtime", self.layout.runtime_options]
        return command_of(job, output or job.folder, [*options, "--settings", job.settings_json()])

    def done(self, job: PlannedJob) -> Path:
        """The folder of a job, which runs after those that it needs if it has not run yet."""
        if not Path(job.checkpoint).exists():
            for before in self.layout.trained_before(job):
                self.done(before)
            assert genifer(*self.command(job)) == 0
        return Path(job.folder)

    def prepared_for(self, job: PlannedJob) -> None:
        for before in self.layout.trained_before(job):
            self.done(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"))


@contextmanager
def stopped_after(steps: int) -> Iterator[None]:
    """Tell a training to stop after some steps, as Slurm or Ctrl-C does."""
    step, done = ClassifierTraining.step, []

    def stopping(self: ClassifierTraining) -> Any:
        scalars = step(self)
        done.append(scalars)
        if len(done) == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return scalars

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassifierTraining, "step", stopping)
        yield


@pytest.mark.parametrize("method", METHODS)
def test_two_tasks_and_their_evaluation(tiny: Run, method: str) -> None:
    for job in tiny.trainings(method):
        metrics = pd.read_csv(tiny.done(job) / "metrics.csv")
        assert metrics["step"].tolist() == list(range(1, job.steps + 1))
        assert metrics.notna().all(axis=None)
    later = [job.task for job in tiny.trainings(method)]
    assert later == ([1, 2] if REGISTRY.methods[method].first_task == "shared" else [0, 1, 2])
    for job in tiny.evaluations(method):
        accuracy = pd.read_csv(tiny.done(job) / "accuracy.csv")
        assert accuracy["eval_task"].tolist() == list(range(job.task + 1))
        assert (accuracy["after_task"] == job.task).all()
        assert accuracy["n_test"].gt(0).all()
        confusion = pd.read_csv(Path(job.folder) / "confusion.csv")
        assert confusion["predicted"].between(0, sum(TINY["scenario"]["tasks"][: job.task + 1]) - 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_training_stopped_in_the_middle_ends_with_the_same_bits(
    tiny: Run, method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for job in tiny.trainings(method):
        undisturbed = tiny.done(job)
        output = tmp_path / f"task_{job.task}"
        command = tiny.command(job, output)
        if job.steps:
            with stopped_after(2):
                code, text = run(capsys, *command)
            assert code == 75, text
            assert not (output / "classifier.safetensors").exists()
        code, text = run(capsys, *command)
        assert code == 0, text
        assert ("resumes after step 2" in text) is (job.steps > 0)
        for name in ("classifier.safetensors", "metrics.csv"):
            assert (output / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="watches files with inotify")
@pytest.mark.parametrize("method", METHODS)
def test_a_training_opens_only_the_images_it_is_given(tiny: Run, method: str, tmp_path: Path) -> None:
    for job in tiny.trainings(method):
        tiny.prepared_for(job)
        with opened_files(tiny.data) as names:
            assert genifer(*tiny.command(job, tmp_path / f"task_{job.task}")) == 0
        assert names == {Path(path).name for path in job.inputs["data"]}
        tasks = range(job.task + 1) if REGISTRY.methods[method].images == "so_far" else [job.task]
        assert names == {f"task_{task}_train.safetensors" for task in tasks}


def last(tiny: Run, method: str) -> PlannedJob:
    return tiny.trainings(method)[-1]


def test_what_is_prepared_is_prepared_once(
    tiny: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, toy = last(tiny, "toy_prepared"), REGISTRY.method("toy_prepared")
    tiny.prepared_for(job)
    before = toy.prepared_times
    with stopped_after(2):
        assert run(capsys, *tiny.command(job, tmp_path))[0] == 75
    assert run(capsys, *tiny.command(job, tmp_path))[0] == 0
    assert toy.prepared_times == before + 1


@pytest.mark.parametrize("method", ["abd", "rdfcil"])
@pytest.mark.parametrize("killed", [False, True])
def test_a_preparation_resumes_in_its_middle(
    tiny: Run, method: str, killed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the first of its two steps: told to stop in that step, or killed in the second."""
    job = last(tiny, method)
    undisturbed, command = tiny.done(job), tiny.command(job, tmp_path)
    if killed:
        with preparation_with(dies, at=1):
            assert genifer(*command) != 0
    else:
        with preparation_with(lambda: os.kill(os.getpid(), signal.SIGTERM), at=0):
            code, text = run(capsys, *command)
        assert code == 75, text
        assert "preparation: stopped by SIGTERM after step 1" in text
    code, text = run(capsys, *command)
    assert code == 0, text
    assert "resumes its preparation after step 1" in text
    for name in ("classifier.safetensors", "metrics.csv"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()


def dies() -> None:
    raise ZeroDivisionError


@contextmanager
def preparation_with(what: Callable[[], object], at: int) -> Iterator[None]:
    """Do something in a step of preparations."""
    steps = Loop.preparation

    def changed(self: Loop, count: int, parts: Any) -> Iterator[int]:
        for step in steps(self, count, parts):
            if step == at:
                what()
            yield step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "preparation", changed)
        yield


def test_memory_of_the_task_before_is_part_of_the_loss(tiny: Run) -> None:
    """The penalty on the distance to the old weights is 0 at the first step and grows."""
    for job in tiny.trainings("toy_anchored")[1:]:
        penalty = pd.read_csv(tiny.done(job) / "metrics.csv")["penalty"]
        assert penalty[0] == 0
        assert penalty[STEPS - 1] > 0


def test_logits_of_its_own_classify(tiny: Run) -> None:
    """The head was never trained on the later tasks' classes; the means of their features were taken."""
    accuracy = pd.read_csv(tiny.done(tiny.evaluations("toy_nearest_mean")[-1]) / "accuracy.csv")
    assert accuracy["accuracy"].gt(0.3).all()  # with ten classes, of which the head knows four
    first, second = (load_file(job.checkpoint) for job in tiny.trainings("toy_nearest_mean")[:2])
    assert second["memory.means"][:4].equal(first["memory.means"])
    assert second["stages.0.0.weight"].equal(first["stages.0.0.weight"])


class Watched(dict[str, torch.Tensor]):
    """A memory that notes which of its entries are read."""

    def __init__(self, memory: dict[str, torch.Tensor]) -> None:
        super().__init__(memory)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> torch.Tensor:
        self.read.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize(
    "method", [name for name, method in REGISTRY.methods.items() if method.has_own_logits()]
)
def test_methods_say_which_of_their_memory_does_not_classify(tiny: Run, method: str) -> None:
    """The number of parameters in budget.csv counts on it."""
    checkpoint = tiny.done(tiny.trainings(method)[-1]) / "classifier.safetensors"
    trained, predictor = load_predictor(checkpoint, DEVICE, REGISTRY)
    predictor.memory = memory = Watched(trained.memory)
    data = TINY["data"]
    with torch.no_grad():
        predictor.logits(
            torch.zeros(2, data["channels"], data["image_size"], data["image_size"], device=DEVICE)
        )
    assert memory.read == set(memory) - set(predictor.only_for_training)


def test_a_method_can_train_the_first_task_itself(tiny: Run) -> None:
    own = tiny.trainings("toy_own_first_task")[0]
    assert "old_classifier" not in own.inputs
    assert own.steps == STEPS
    shared = next(job for job in tiny.layout.trainings if job.name == "pretrain_classifier")
    name = "stages.0.0.weight"
    assert not load_file(tiny.done(own) / "classifier.safetensors")[name].equal(
        load_file(tiny.done(shared) / "classifier.safetensors")[name]
    )


def test_stored_exemplars_are_declared_and_kept(tiny: Run) -> None:
    memory = load_file(tiny.done(last(tiny, "toy_exemplars")) / "classifier.safetensors")
    assert memory["memory.labels"].tolist() == [label for label in range(10) for _ in range(2)]
    variants = tiny.layout.table_settings["tabulate"]["variants"]
    assert variants["toy_exemplars"]["old_images"] == "exemplars"
    assert variants["toy_prepared"]["old_images"] == "none"
    assert variants["joint"]["old_images"] == "all"


def test_a_method_has_a_chain_of_gans_of_its_own(tiny: Run) -> None:
    groups = {job.group for job in tiny.layout.trainings if job.name.endswith("_gan")}
    assert "toy_own_gan" in groups
    counts = []
    for job in tiny.trainings("toy_own_gan")[:2]:
        tiny.done(job)
        counts.append(load_file(job.checkpoint)["memory.counts"])
    first, second = counts
    assert second[: len(first)].equal(first)


HOARDER = """
from genifer.methods import Method


class Hoarder(Method):
    \"\"\"Keeps images, and does not say so.\"\"\"

    name = "hoarder"

    def finish(self):
        return {{"statistics": {memory}}}
"""


@pytest.mark.parametrize(
    "memory",
    [
        "self.data.images[:3]",
        "self.data.images[0]",
        "self.normalize(self.data.images[:3])",
        "next(self.ordered_batches())[0]",
    ],
)
def test_images_in_memory_are_refused(
    tiny: Run, memory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = last(tiny, "finetune").inputs["old_classifier"]
    tiny.prepared_for(last(tiny, "finetune"))
    (tmp_path / "hoarder.py").write_text(HOARDER.format(memory=memory))
    changes = {"plugins": [str(tmp_path / "hoarder.py")], "methods": ["hoarder"], "hoarder": {"steps": 1}}
    plain = {name: block for name, block in tiny.settings.items() if name not in METHODS}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(merged(plain, changes)))
    options = ["--config", tmp_path / "run.yaml", "--old-classifier", old, "--output", tmp_path / "out"]
    code, text = run(capsys, "train", "hoarder", *options, tiny.data / "task_2_train.safetensors")
    assert code == 1
    assert "method hoarder: its memory 'statistics'" in text
    assert "stores_exemplars = True" in text
    assert "Traceback" not in text
    assert not (tmp_path / "out" / "classifier.safetensors").exists()


def test_a_method_that_is_not_installed(
    tiny: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tiny.done(last(tiny, "toy_nearest_mean")) / "classifier.safetensors"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(TINY))
    images = [tiny.data / f"task_{task}_test.safetensors" for task in range(3)]
    options = ["--config", tmp_path / "run.yaml", "--method", "a", "--output", tmp_path / "out"]
    code, text = run(capsys, "evaluate", *options, "--classifier", checkpoint, *images)
    assert code == 1
    assert text.count("\n") == 1, text
    assert f"{checkpoint}: was made by the method 'toy_nearest_mean', which is not installed" in text
    assert "'plugins' in the run file" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["toy_anchored", "finetune"])
def test_the_memory_of_another_method_is_refused(
    tiny: Run, method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tiny.done(tiny.trainings("toy_exemplars")[1]) / "classifier.safetensors"
    options = ["--config", tiny.file, "--old-classifier", checkpoint, "--output", tmp_path / "out"]
    code, text = run(capsys, "train", method, *options, tiny.data / "task_2_train.safetensors")
    assert code == 1
    assert f"was made by the method toy_exemplars, whose memory {method} cannot use" in text
    assert not (tmp_path / "out").exists()


def test_a_setting_that_a_method_no_longer_has(
    tiny: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tiny.done(last(tiny, "toy_nearest_mean")) / "classifier.safetensors"
    changed = TOYS.read_text().replace(
        "steps: Annotated[int, Field(ge=0)]", "steps: Annotated[int, Field(ge=1)]"
    )
    (tmp_path / "toys.py").write_text(changed.replace("Field(0, description", "Field(1, description"))
    changes = {"plugins": [str(tmp_path / "toys.py")]}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(merged(TINY, changes)))
    images = [tiny.data / f"task_{task}_test.safetensors" for task in range(3)]
    options = ["--config", tmp_path / "run.yaml", "--method", "a", "--output", tmp_path / "out"]
    code, text = run(capsys, "evaluate", *options, "--classifier", checkpoint, *images)
    assert code == 1
    assert "was made with settings that this version of toy_nearest_mean does not have" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("method", "left_out", "message"),
    [
        ("genifer", "old_gan", "--old-gan is missing: genifer replays"),
        ("toy_own_gan", "old_gan", "--old-gan is missing: toy_own_gan replays"),
        (
            "finetune",
            "old_classifier",
            "--old-classifier is missing: finetune starts from the previous task's classifier",
        ),
        ("toy_own_first_task", "old_classifier", "--old-classifier is missing: toy_own_first_task starts"),
    ],
)
def test_a_checkpoint_that_is_not_given(
    tiny: Run, method: str, left_out: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = last(tiny, method)
    tiny.prepared_for(job)
    command = tiny.command(job, tmp_path)
    at = command.index(f"--{left_out.replace('_', '-')}")
    code, text = run(capsys, *command[:at], *command[at + 2 :])
    assert code == 1
    assert message in text
    assert "Traceback" not in text


def test_images_of_several_tasks_are_for_methods_that_say_so(
    tiny: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = last(tiny, "finetune")
    tiny.prepared_for(job)
    code, text = run(capsys, *tiny.command(job, tmp_path), tiny.data / "task_0_train.safetensors")
    assert code == 1
    assert "2 files of images were given, but this training opens the images of one task only" in text
