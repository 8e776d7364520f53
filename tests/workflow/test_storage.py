"""Results and data in Snakemake's storages and in a DVC remote: a shared folder, and an object store on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pandas as pd
import pytest
from snakemake.exceptions import WorkflowError, format_exception_to_string
from support.commands import call, make_clone, write_run_file

from snakemake_logger_plugin_genifer.storage import storage_error

BUCKET = "lab"

pytestmark = pytest.mark.slow


def needs(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (pip install '.[dev]')")


def s3(prefix: str, address: str) -> list[str]:
    """Options of Snakemake for an object store, which is asked no more than twice."""
    options = ["--default-storage-provider", "s3", "--default-storage-prefix", prefix]
    return [*options, "--storage-s3-endpoint-url", address, "--storage-s3-retries", "1"]


def shared_folder(path: Path) -> list[str]:
    """Options of Snakemake for a shared folder."""
    return ["--default-storage-provider", "fs", "--default-storage-prefix", str(path)]


def needs_rsync() -> None:
    if which("rsync") is None:
        pytest.skip("rsync is not installed, with which the plugin copies files")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of an object store, in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@dataclass
class Store:
    """An object store on loopback, with an empty bucket."""

    address: str
    stop: Callable[[], None]


@pytest.fixture
def store(keys: None) -> Iterator[Store]:  # noqa: ARG001
    """With its keys in the environment."""
    needs("moto", "boto3")
    import boto3
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()

    def stop() -> None:
        running.stop()
        # Else the port still accepts connections, which nobody answers.
        running._server.server_close()

    try:
        host, port = running.get_host_and_port()
        address = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
        yield Store(address, stop)
    finally:
        stop()


def run(folder: Path, storage: list[str], methods: list[str]) -> str:
    """Run the tiny run with its results in a storage."""
    done = start(folder, storage, methods)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def start(folder: Path, storage: list[str], methods: list[str]) -> subprocess.CompletedProcess[str]:
    run_file = write_run_file(folder, methods=methods)
    return call(["snakemake", "--configfile", run_file, *storage], folder, timeout=1800)


def refused(clone: Path, storage: list[str]) -> str:
    """The message of a run that does not start."""
    done = start(clone, storage, ["finetune"])
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert "WorkflowError" not in said
    assert not list(clone.rglob("*.safetensors"))
    assert not (clone / "results" / "quickstart" / "plan.json").exists()
    [message] = [line for line in said.splitlines() if line.startswith("the storage")]
    return message


def expected(recorded: Path, method: str) -> pd.DataFrame:
    """The accuracies of a run whose results lie in its folder."""
    accuracy = pd.read_csv(recorded / "results" / "quickstart" / "accuracy.csv")
    return accuracy[accuracy["method"] == method].reset_index(drop=True)


def check_two_clones(one: Path, two: Path, storage: list[str], local_copies: str, recorded: Path) -> None:
    """Results are those of a run without a storage; another clone finds them, and trains only what is missing."""
    run(one, storage, ["joint"])
    assert "Nothing to be done" in run(one, [*storage, "--dry-run"], ["joint"])
    assert "Nothing to be done" in run(two, [*storage, "--dry-run"], ["joint"])
    said = run(two, storage, ["joint", "finetune"])
    assert "train finetune" in said
    assert [rule for rule in ("prepare data", "pretrain classifier", "train joint") if rule in said] == []
    assert [line for line in said.splitlines() if "storage:" in line.lower()] == []
    results = two / ".snakemake" / "storage" / local_copies / "results" / "quickstart"
    both = pd.read_csv(results / "accuracy.csv")
    for method in ("joint", "finetune"):
        of_method = both[both["method"] == method].reset_index(drop=True)
        pd.testing.assert_frame_equal(of_method, expected(recorded, method))
    assert not list((two / "results").rglob("*.safetensors"))
    assert list((two / "results").rglob("train_finetune/log.txt"))
    # The end of the run names the command for the report, which needs the provenance; so do the others.
    assert f"genifer report {results.relative_to(two)}\n" in said
    for command in (["report"], ["summary"], ["compare", "--reference", "joint"]):
        done = call(["genifer", *command, results.relative_to(two)], two)
        assert done.returncode == 0, done.stdout + done.stderr
    invocations = json.loads((results / "provenance.json").read_text())["invocations"]
    assert [(each["succeeded"], each["jobs"].get("train_joint", 0)) for each in invocations] == [
        (True, 2),
        (True, 0),
    ]


def test_results_in_a_shared_folder(recorded: Path, tmp_path: Path) -> None:
    needs("snakemake_storage_plugin_fs")
    needs_rsync()
    clones = [make_clone(tmp_path / name) for name in ("one", "two")]
    shared = tmp_path / "shared"
    check_two_clones(*clones, shared_folder(shared), f"fs{shared}", recorded)
    results = shared / "results" / "quickstart"
    done = call(["genifer", "report", results, "--output", tmp_path / "page.html"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_results_in_an_object_store(store: Store, recorded: Path, tmp_path: Path) -> None:
    """The plugin makes the bucket."""
    needs("snakemake_storage_plugin_s3")
    clones = [make_clone(tmp_path / name) for name in ("one", "two")]
    check_two_clones(*clones, s3("s3://new/folder", store.address), "s3/new/folder", recorded)
    import boto3

    table = tmp_path / "accuracy.csv"
    boto3.client("s3", endpoint_url=store.address).download_file(
        "new", "folder/results/quickstart/accuracy.csv", str(table)
    )
    assert set(pd.read_csv(table)["method"]) == {"joint", "finetune"}


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
@pytest.mark.usefixtures("keys")
def test_a_store_that_does_not_answer(option: list[str], tmp_path: Path) -> None:
    """It is asked once, not for every file."""
    needs("snakemake_storage_plugin_s3")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        said = refused(make_clone(tmp_path), [*s3("s3://lab/folder", address), *option])
    assert f"the storage s3://lab/folder at {address} cannot be read: Could not connect" in said
    assert "options that begin with storage-s3" in said
    assert said.endswith("then run the same command again")


def test_a_store_that_refuses_the_keys(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("snakemake_storage_plugin_s3")
    # From now on moto's server looks at the keys, of which it knows none.
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
    said = refused(make_clone(tmp_path), s3(f"s3://{BUCKET}", store.address))
    assert f"the storage s3://{BUCKET} at {store.address} cannot be read: " in said
    assert "403" in said


@pytest.mark.usefixtures("keys")
def test_a_prefix_that_does_not_fit(tmp_path: Path) -> None:
    needs("snakemake_storage_plugin_s3")
    done = start(make_clone(tmp_path), s3("lab", "http://127.0.0.1:9"), ["finetune"])
    assert done.returncode == 1
    assert (
        "default-storage-prefix: 'lab' does not fit default-storage-provider: s3: the prefix must start"
        in (done.stderr)
    )
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    needs("snakemake_storage_plugin_fs")
    file = tmp_path / "file"
    file.touch()
    said = refused(make_clone(tmp_path / "clone"), shared_folder(file / "shared"))
    assert f"the storage {file}/shared cannot be written: [Errno 20] Not a directory" in said
    assert said.endswith("No job was started.")


def test_a_refused_file_fails_only_what_needs_it(tmp_path: Path) -> None:
    needs("snakemake_storage_plugin_fs")
    needs_rsync()
    clone, shared = make_clone(tmp_path / "clone"), tmp_path / "shared"
    # A file where the folder of joint's jobs would be, because root may write to any folder.
    seed = shared / "results" / "quickstart" / "jobs" / "seed_0"
    seed.mkdir(parents=True)
    (seed / "joint").touch()
    until = ["--keep-going", "--until", "evaluate"]
    done = start(clone, [*shared_folder(shared), *until], ["joint", "finetune"])
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    [place] = [number for number, line in enumerate(lines) if "failed" in line and "train joint" in line]
    job = "results/quickstart/jobs/seed_0/joint/task_1/train_joint"
    assert lines[place + 1].startswith(
        f"    The storage does not take {shared}/{job}/classifier.safetensors: NotADirectoryError:"
    )
    assert lines[place + 2] == f"  log: {job}/log.txt"
    assert "1 job failed. The same command continues from what is there." in lines
    assert "WorkflowError" not in done.stderr
    assert "Traceback" not in done.stderr
    for task in (1, 2):
        assert (seed / "finetune" / f"task_{task}" / "train_finetune" / "classifier.safetensors").is_file()
    (seed / "joint").unlink()
    said = run(clone, [*shared_folder(shared), *until], ["joint", "finetune"])
    assert ("train joint" in said, "train finetune" in said) == (True, False)


def test_a_store_that_goes_away_stops_the_run(store: Store, tmp_path: Path) -> None:
    needs("snakemake_storage_plugin_s3")
    clone = make_clone(tmp_path)
    run_file = write_run_file(clone, methods=["finetune"])
    command = ["snakemake", "--keep-going", "--configfile", str(run_file)]
    with subprocess.Popen(
        [*command, *s3(f"s3://{BUCKET}", store.address)], cwd=clone, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "pretrain classifier" in line:
                store.stop()
    assert process.returncode == 1
    said = "".join(lines)
    assert "Traceback" not in said
    errors = [line for line in lines if line.startswith("The storage does not")]
    assert store.address in errors[0]
    assert "the same command continues from what is there" in errors[0]


@pytest.mark.parametrize("wrapped", [False, True])
def test_errors_of_several_files_are_one_line(wrapped: bool) -> None:
    """Snakemake raises them as a group, or in a message of its own."""

    def cannot_fetch(name: str) -> WorkflowError:
        try:
            raise WorkflowError(f"Failed to retrieve storage object from {name}", OSError("no answer"))
        except WorkflowError as error:
            return error

    group = ExceptionGroup("several", [cannot_fetch("s3://lab/a file"), cannot_fetch("s3://lab/b")])
    error = WorkflowError("Failed to retrieve input from storage.", group) if wrapped else group
    said = storage_error(format_exception_to_string(error))
    assert str(said) == "The storage does not give s3://lab/a file: OSError: no answer"
    # An error that Snakemake does not explain, in a traceback through the plugin.
    place = 'File "snakemake_storage_plugin_s3/__init__.py", line 283, in exists'
    bare = f"Traceback (most recent call last):\n  {place}\n\nConnectError: no answer\n\n"
    assert str(storage_error(bare)) == "The storage does not answer: ConnectError: no answer"
    assert storage_error(bare.replace("snakemake_storage_plugin_s3", "pandas")) is None
    assert storage_error("WorkflowError:\nAt least one job did not complete successfully.") is None


def test_a_dvc_remote_in_an_object_store(store: Store, recorded: Path, tmp_path: Path) -> None:
    """A clone without the data fetches them, and has nothing to do."""
    needs("dvc_s3")
    other = tmp_path / "other"
    for command, folder in (
        (["dvc", "remote", "add", "--default", "--force", "storage", f"s3://{BUCKET}/dvc"], recorded),
        (["dvc", "remote", "modify", "storage", "endpointurl", store.address], recorded),
        (["git", "commit", "--quiet", "--all", "--message", "A remote"], recorded),
        (["dvc", "push", "quickstart"], recorded),
        (["git", "clone", "--quiet", recorded, other], tmp_path),
        (["dvc", "pull", "quickstart"], other),
    ):
        done = call(command, folder)
        assert done.returncode == 0, done.stdout + done.stderr
    done = call(["snakemake", "--dry-run", "--configfile", "config/quickstart.yaml"], other)
    assert "Nothing to be done" in done.stdout, done.stdout + done.stderr
