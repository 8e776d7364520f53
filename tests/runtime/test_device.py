"""Device, precision and compilation: what `auto` picks, and messages for want of memory or of a compiler."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.commands import ROOT, TINY, merged
from support.data_files import prepare

from genifer.runtime.device import compiled, pick_compile

CPU = torch.device("cpu")


def test_what_compile_auto_picks() -> None:
    gpu = torch.device("cuda")
    assert pick_compile("auto", gpu, 80_000, deterministic=False)
    assert not pick_compile("auto", gpu, 80_000, deterministic=True)
    assert not pick_compile("auto", gpu, 500, deterministic=False)
    assert not pick_compile("auto", CPU, 80_000, deterministic=False)
    assert pick_compile("on", CPU, 1, deterministic=True)
    assert not pick_compile("off", gpu, 80_000, deterministic=False)


def test_without_a_compiler_the_function_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> Any:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=missing))
    torch._dynamo.reset()
    function = compiled(lambda x: {"loss": (x * x).sum()})
    with caplog.at_level(logging.WARNING):
        for value in (1.0, 2.0):
            assert function(torch.full((3,), value))["loss"] == 3 * value**2
    assert "runtime.compile: off" in caplog.text


KEPT_MEMORY = """
import resource, torch
from genifer.runtime.device import configure
configure(torch.device("cpu"), "fp32")
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(10 * 2**20) for _ in range(4)]
    del tensors
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_memory_of_large_tensors_is_used_again() -> None:
    """Four tensors of 40 MiB have 40,960 pages, which the system would have to clear and map anew each time."""
    done = subprocess.run([sys.executable, "-c", KEPT_MEMORY], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 10_000


OUT_OF_MEMORY = """
import resource
from genifer.training import classifier, gan
from genifer.cli import main
in_use = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**29, in_use + 2**29))
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory")
@pytest.mark.slow
def test_too_little_memory(tmp_path: Path) -> None:
    prepare(tmp_path / "data", TINY["data"], TINY["scenario"])
    large = {"classifier": {"width": 64}, "pretrain_classifier": {"batch_size": 60000}}
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(merged(TINY, large)))
    options = ["--config", "large.yaml", "--output", "large", "data/task_0_train.safetensors"]
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, "pretrain-classifier", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "has not enough memory" in done.stderr
    assert "lower pretrain_classifier.batch_size" in done.stderr
