"""Results and data in Snakemake's storages and in a DVC remote: a shared folder, and an object store on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pandas as pd
import pytest
from support.commands import call, make_clone, write_run_file

BUCKET = "lab"

pytestmark = pytest.mark.slow


def needs(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (pip install '.[dev]')")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an object store with an empty bucket, to which the environment has the keys."""
    needs("moto", "boto3")
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        address = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
        yield address
    finally:
        running.stop()


def run(folder: Path, storage: list[str], methods: list[str]) -> str:
    """Run the tiny run with its results in a storage."""
    run_file = write_run_file(folder, methods=methods)
    done = call(["snakemake", "--configfile", run_file, *storage], folder, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def expected(recorded: Path, method: str) -> pd.DataFrame:
    """The accuracies of a run whose results lie in its folder."""
    accuracy = pd.read_csv(recorded / "results" / "quickstart" / "accuracy.csv")
    return accuracy[accuracy["method"] == method].reset_index(drop=True)


def test_results_in_a_shared_folder(recorded: Path, tmp_path: Path) -> None:
    """They are those of a run without a storage; another folder finds them, and trains nothing again."""
    needs("snakemake_storage_plugin_fs")
    if which("rsync") is None:
        pytest.skip("rsync is not installed, with which the plugin copies files")
    shared = tmp_path / "shared"
    storage = ["--default-storage-provider", "fs", "--default-storage-prefix", str(shared)]
    run(make_clone(tmp_path / "one"), storage, ["genifer"])
    table = shared / "results" / "quickstart" / "accuracy.csv"
    pd.testing.assert_frame_equal(pd.read_csv(table), expected(recorded, "genifer"))
    said = run(make_clone(tmp_path / "two"), storage, ["genifer", "finetune"])
    assert "train finetune" in said
    assert [rule for rule in ("prepare data", "pretrain classifier", "train genifer") if rule in said] == []
    both = pd.read_csv(table)
    for method in ("genifer", "finetune"):
        of_method = both[both["method"] == method].reset_index(drop=True)
        pd.testing.assert_frame_equal(of_method, expected(recorded, method))
    assert not list((tmp_path / "two" / "results").rglob("*.safetensors"))


def test_results_in_an_object_store(server: str, recorded: Path, tmp_path: Path) -> None:
    needs("snakemake_storage_plugin_s3")
    storage = ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}"]
    storage += ["--storage-s3-endpoint-url", server]
    clone = make_clone(tmp_path / "one")
    run(clone, storage, ["finetune"])
    assert "Nothing to be done" in run(clone, [*storage, "--dry-run"], ["finetune"])
    assert "Nothing to be done" in run(make_clone(tmp_path / "two"), [*storage, "--dry-run"], ["finetune"])
    import boto3

    table = tmp_path / "accuracy.csv"
    boto3.client("s3", endpoint_url=server).download_file(
        BUCKET, "results/quickstart/accuracy.csv", str(table)
    )
    pd.testing.assert_frame_equal(pd.read_csv(table), expected(recorded, "finetune"))


def test_a_dvc_remote_in_an_object_store(server: str, recorded: Path, tmp_path: Path) -> None:
    """A clone without the data fetches them, and has nothing to do."""
    needs("dvc_s3")
    other = tmp_path / "other"
    for command, folder in (
        (["dvc", "remote", "add", "--default", "--force", "storage", f"s3://{BUCKET}/dvc"], recorded),
        (["dvc", "remote", "modify", "storage", "endpointurl", server], recorded),
        (["git", "commit", "--quiet", "--all", "--message", "A remote"], recorded),
        (["dvc", "push", "quickstart"], recorded),
        (["git", "clone", "--quiet", recorded, other], tmp_path),
        (["dvc", "pull", "quickstart"], other),
    ):
        done = call(command, folder)
        assert done.returncode == 0, done.stdout + done.stderr
    done = call(["snakemake", "--dry-run", "--configfile", "config/quickstart.yaml"], other)
    assert "Nothing to be done" in done.stdout, done.stdout + done.stderr
