"""No stored sample leaves its task: which images a task's stages open, seen from outside."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from commands import TINY, call, make_clone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="watches files with inotify"),
]

IN_OPEN = 0x20
EVENT = struct.Struct("iIII")


@contextmanager
def opened_files(folder: Path) -> Iterator[set[str]]:
    """Collect the names of the files in a folder that any process opens."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert watch >= 0
    assert libc.inotify_add_watch(watch, os.fsencode(folder), IN_OPEN) >= 0
    names: set[str] = set()
    try:
        yield names
        while True:
            try:
                events = os.read(watch, 1 << 16)
            except BlockingIOError:
                break
            at = 0
            while at < len(events):
                _, mask, _, length = EVENT.unpack_from(events, at)
                at += EVENT.size
                if mask & IN_OPEN and length:
                    names.add(os.fsdecode(events[at : at + length].rstrip(b"\0")))
                at += length
    finally:
        os.close(watch)


def train(*tasks: int) -> set[str]:
    return {f"task_{task}_train.safetensors" for task in tasks}


def test_a_watch_sees_what_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "b").write_text("")
    with opened_files(tmp_path) as names:
        subprocess.run([sys.executable, "-c", "open('b')"], cwd=tmp_path, check=True)
    assert names == {"b"}


def test_each_stage_opens_the_images_of_its_task(tmp_path: Path) -> None:
    """The commands are those that Snakemake would run."""
    clone = make_clone(tmp_path)
    (clone / "config" / "quickstart.yaml").write_text(yaml.safe_dump(TINY))
    done = call(
        ["snakemake", "--configfile", "config/quickstart.yaml", "--forceall", "--printshellcmds"], clone
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = clone / "results" / "quickstart"
    commands = re.findall(r"python -m genifer (\S+)((?:[^\n]|\\\n)*?)2>&1", done.stdout + done.stderr)
    images = results / "data"
    seen: dict[tuple[str, int], set[str]] = {}
    logs: dict[str, str] = {}
    for name, options in commands:
        arguments = shlex.split(options.replace("\\\n", " "))
        stage = name.replace("-", "_")
        if not stage.startswith(("pretrain_", "train_")):
            continue
        output = arguments[arguments.index("--output") + 1]
        task = re.search(r"/task_(\d+)/", output)
        shutil.rmtree(clone / output)
        with opened_files(images) as names:
            done = call([sys.executable, "-m", "genifer", name, *arguments], clone)
        assert done.returncode == 0, done.stderr
        seen[stage, int(task[1]) if task else 0] = {
            entry for entry in names if entry.endswith(".safetensors")
        }
        logs[stage] = done.stderr
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
    assert {stage for stage, log in logs.items() if "images of all tasks" in log} == {"train_joint"}
