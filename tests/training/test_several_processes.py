"""A training whose processes share each batch: stopped, resumed, killed, and refused where it cannot be."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from support.chain import Chain, settings_with
from support.commands import ROOT, TINY, call, merged
from support.started import start, wait_for

RUN = merged(
    TINY,
    {
        "plugins": [str(ROOT / "tests" / "support" / "toy_methods.py")],
        "methods": ["genifer", "lwf", "toy_anchored"],
        "runtime": {"gpus_per_job": 2, "resume_every": 0, "trackers": []},
        "pretrain_classifier": {"steps": 16, "optimizer": {"schedule": "plateau", "epochs": 3}},
        "gan": {"ada": {"mode": "adaptive", "probability": 0.3, "full_range_steps": 40}, "r1_interval": 2},
        "pretrain_gan": {"steps": 12},
    },
)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    chain = Chain(tmp_path_factory.mktemp("several"))
    (chain.folder / "run.yaml").write_text(yaml.safe_dump(RUN))
    return chain


def training(command: str, output: str, *inputs: str | Path, changes: str = "run.yaml") -> list[str]:
    options = ["--config", changes, "--device", "cpu", "--output", output]
    whole = ["genifer", "--log", f"{output}.txt", *command.split(), *options, *map(str, inputs)]
    return [sys.executable, "-m", *whole]


def run(chain: Chain, command: list[str]) -> tuple[int, str]:
    process = start(command, chain.folder, OMP_NUM_THREADS="2")
    return process.wait(), process.communicate()[0]


def has_begun(chain: Chain, output: str) -> Callable[[], object]:
    return lambda: list((chain.folder / output / "resume").glob("step_*.resume"))


def same_bytes(chain: Chain, a: str, b: str) -> bool:
    names = {path.name for path in (chain.folder / a).iterdir()} - {"status.json"}
    assert names == {"metrics.csv", "gan.safetensors" if a.startswith("gan") else "classifier.safetensors"}
    return all((chain.folder / a / n).read_bytes() == (chain.folder / b / n).read_bytes() for n in names)


def stopped_and_resumed(chain: Chain, command: str, name: str, *inputs: str | Path) -> None:
    """Also the whole process group gets the signal, as from a scheduler."""
    code, text = run(chain, training(command, name, *inputs))
    assert code == 0, text
    assert text.count("steps/s") == 1
    log = (chain.folder / f"{name}.txt").read_text()
    assert log.count("precision fp32") == 1
    again = training(command, f"{name}_stopped", *inputs)
    process = start(again, chain.folder, OMP_NUM_THREADS="2")
    wait_for(has_begun(chain, f"{name}_stopped"), process)
    children = psutil.Process(process.pid).children()
    memory = sum(child.memory_info().rss for child in children) / 2**20
    cpu_seconds = sum(child.cpu_times().user + child.cpu_times().system for child in children)
    for each in [psutil.Process(process.pid), *children]:
        each.send_signal(signal.SIGTERM)
    text = process.communicate()[0]
    assert process.returncode == 75, text
    assert text.count("stopped by SIGTERM after step") == 1
    assert "Traceback" not in text
    used = json.loads((chain.folder / f"{name}_stopped" / "status.json").read_text())
    assert used["memory_mb"] > memory - 2
    assert used["cpu_seconds"] > cpu_seconds - 0.1
    code, text = run(chain, again)
    assert code == 0, text
    assert text.count("resumes after step") == 1
    both = json.loads((chain.folder / f"{name}_stopped" / "status.json").read_text())
    assert both["cpu_seconds"] > used["cpu_seconds"] + cpu_seconds / 2
    assert same_bytes(chain, f"{name}_stopped", name)


def test_a_stopped_classifier_resumes(chain: Chain) -> None:
    stopped_and_resumed(chain, "pretrain-classifier", "classifier", chain.data(0))


@pytest.mark.slow
def test_a_stopped_gan_resumes(chain: Chain) -> None:
    stopped_and_resumed(chain, f"pretrain-gan --classifier {chain.classifier}", "gan", chain.data(0))


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_that_is_killed_is_named(chain: Chain, rank: int) -> None:
    output = f"killed_{rank}"
    process = start(training("pretrain-classifier", output, chain.data(0)), chain.folder, OMP_NUM_THREADS="2")
    wait_for(has_begun(chain, output), process)
    children = psutil.Process(process.pid).children()
    [victim] = [child for child in children if child.environ()["RANK"] == str(rank)]
    process.send_signal(signal.SIGSTOP)
    victim.send_signal(signal.SIGKILL)
    if rank:  # Gloo may abort a process that has lost another one, sooner than anyone looks.
        for child in children:
            child.send_signal(signal.SIGABRT)
    process.send_signal(signal.SIGCONT)
    text = process.communicate(timeout=60)[0]
    assert process.returncode == 1, text
    for place in (text, (chain.folder / f"{output}.txt").read_text()):
        assert f"genifer: process {rank} of the training's processes 0 to 1" in place
        assert "was killed by SIGKILL" in place
    assert "Traceback" not in text
    assert not any(child.is_running() for child in children)


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(chain: Chain) -> None:
    command = training("pretrain-classifier", "orphans", chain.data(0))
    process = start(command, chain.folder, OMP_NUM_THREADS="2")
    wait_for(has_begun(chain, "orphans"), process)
    children = psutil.Process(process.pid).children()
    process.kill()
    assert not psutil.wait_procs(children, timeout=30)[1]
    assert not (chain.folder / "orphans" / "classifier.safetensors").exists()


def test_a_batch_that_cannot_be_shared(chain: Chain) -> None:
    uneven = merged(RUN, {"pretrain_classifier": {"batch_size": 33}})
    (chain.folder / "uneven.yaml").write_text(yaml.safe_dump(uneven))
    code, text = run(chain, training("pretrain-classifier", "uneven", chain.data(0), changes="uneven.yaml"))
    assert code == 1
    assert text.count("pretrain_classifier.batch_size: 33 gives batches of 33 images, which 2 processes") == 1
    assert "multiple of 2" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_a_method_that_does_not_say_that_it_splits_batches(chain: Chain) -> None:
    first = chain.learn_first_task("toy_anchored", settings_with(plugins=RUN["plugins"]), chain.folder)
    code, text = run(
        chain, training(f"train toy_anchored --old-classifier {first}", "refused", chain.data(1))
    )
    assert code == 1
    assert "runtime.gpus_per_job: 2, but method toy_anchored" in text
    assert "splits_batches = True" in text


@pytest.mark.slow
def test_torchrun_starts_the_processes_too(chain: Chain) -> None:
    command = training("pretrain-classifier", "by_torchrun", chain.data(0))
    del command[3:5]  # torchrun reads --log as an option of its own
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    code, text = run(chain, [*torchrun, "2", *command[1:]])
    assert code == 0, text
    assert (chain.folder / "by_torchrun" / "classifier.safetensors").is_file()
    code, text = run(chain, [*torchrun, "3", *command[1:]])
    assert code == 1
    assert "runtime.gpus_per_job: 2, but torchrun started 3 processes" in text


@pytest.mark.slow
def test_methods_that_train_nothing_take_one_process(chain: Chain) -> None:
    code, text = run(chain, training(f"train ncm --old-classifier {chain.classifier}", "ncm", chain.data(0)))
    assert code == 0, text
    one = call(
        [
            *training(f"train ncm --old-classifier {chain.classifier}", "one", chain.data(0)),
            "--runtime",
            "{gpus_per_job: 1}",
        ],
        chain.folder,
    )
    assert one.returncode == 0, one.stderr
    assert same_bytes(chain, "ncm", "one")
