"""No stored sample leaves its task: which images the trainings of a task open, seen from outside."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.commands import TINY, call, make_clone, merged
from support.opened_files import opened_files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="watches files with inotify"),
]


def train(*tasks: int) -> set[str]:
    return {f"task_{task}_train.safetensors" for task in tasks}


def test_a_watch_sees_what_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "b").write_text("")
    with opened_files(tmp_path) as names:
        subprocess.run([sys.executable, "-c", "open('b')"], cwd=tmp_path, check=True)
    assert names == {"b"}


@pytest.mark.parametrize(("class_order", "folder"), [(1993, "data"), ("seed", "data/seed_0")])
def test_each_training_opens_the_images_of_its_task(
    tmp_path: Path, class_order: int | str, folder: str
) -> None:
    """The commands are those that Snakemake would run, in its order."""
    clone = make_clone(tmp_path)
    run_file = clone / "config" / "quickstart.yaml"
    changes = {"runtime": {"trackers": []}, "scenario": {"class_order": class_order}}
    run_file.write_text(yaml.safe_dump(merged(TINY, changes)))
    planned = call(["snakemake", "--configfile", run_file, "--dry-run", "--printshellcmds"], clone)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    images = clone / "results" / "quickstart" / folder
    images.mkdir(parents=True)
    seen: dict[tuple[str, int], set[str]] = {}
    logs: dict[str, str] = {}
    for command in re.findall(r"python -m genifer((?:\\\n|[^\n])*)", planned.stdout):
        arguments = shlex.split(command.replace("\\\n", " "))
        name = arguments[2]
        if name not in ("prepare-data", "pretrain-classifier", "pretrain-gan", "train", "train-gan"):
            continue
        with opened_files(images) as names:
            done = call([sys.executable, "-m", "genifer", *arguments], clone)
        assert done.returncode == 0, done.stderr
        task = re.search(r"/task_(\d+)/", arguments[arguments.index("--output") + 1])
        if task is not None:
            job = f"train_{arguments[3]}" if name == "train" else name.replace("-", "_")
            seen[job, int(task[1])] = names
            logs[job] = done.stderr
    assert seen == {
        ("pretrain_classifier", 0): train(0),
        ("pretrain_gan", 0): train(0),
        ("train_genifer", 1): train(1),
        ("train_genifer", 2): train(2),
        ("train_gan", 1): train(1),
        ("train_finetune", 1): train(1),
        ("train_finetune", 2): train(2),
        ("train_joint", 1): train(0, 1),
        ("train_joint", 2): train(0, 1, 2),
    }
    assert {job for job, log in logs.items() if "images of all tasks" in log} == {"train_joint"}
