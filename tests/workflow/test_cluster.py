"""The profiles for a cluster, without one. tests/cluster runs through a real Slurm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from support import in_process
from support.commands import ROOT, call, make_clone, write_run_file

PROFILES = ROOT / "workflow" / "profiles"
ALIKE = ("rerun-incomplete", "max-checksum-file-size", "rerun-triggers")


def profile(name: str) -> dict[str, object]:
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text())


def test_the_profiles_agree_on_what_is_made_again() -> None:
    for key in ALIKE:
        assert profile("slurm")[key] == profile("default")[key], key


def test_the_site_has_keys_of_its_own() -> None:
    """Of keys that both profiles have, Snakemake would ignore the site's, whole blocks included."""
    assert not set(profile("slurm")) & {*profile("site.example"), "set-resources"}


def test_git_ignores_the_site() -> None:
    assert call(["git", "check-ignore", "--quiet", "workflow/profiles/site/config.yaml"]).returncode == 0
    assert (
        call(["git", "check-ignore", "--quiet", "workflow/profiles/site.example/config.yaml"]).returncode == 1
    )


@pytest.mark.parametrize("snakefile", ["Snakefile", "grid.smk"])
def test_every_training_asks_for_a_gpu(tmp_path: Path, snakefile: str) -> None:
    """Trainings insist on a GPU of one node, and no other job does; all get what the site says."""
    clone = make_clone(tmp_path / "clone")
    shutil.copytree(clone / "workflow/profiles/site.example", clone / "workflow/profiles/site")
    run_file = write_run_file(clone, methods=["genifer", "finetune"])
    if snakefile == "grid.smk":
        axes = {"a": {"one": str(run_file), "two": [str(run_file), {"finetune": {"steps": 4}}]}}
        run_file.with_name("grid.yaml").write_text(yaml.safe_dump({"grid": "g", "axes": axes}))
        run_file = run_file.with_name("grid.yaml")
    done = call(
        ["snakemake", "-n", "--verbose", "--snakefile", f"workflow/{snakefile}", "--profile", "workflow/profiles/site",
         "--workflow-profile", "slurm", "--configfile", run_file],
        clone,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rule, trainings = "", 0
    for line in done.stdout.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].removesuffix(":")
        elif line.startswith("    resources: ") and rule not in ("all", "compare"):
            trains = "_classifier" in rule or "_gan" in rule or "train_" in rule
            trainings += trains
            found = ("gpu=1" in line, "nodes=1" in line, "device=cuda" in line)
            assert found == (trains, trains, trains), f"{rule}: {line}"
            assert "slurm_account=my_account" in line
            assert "runtime=120" in line
    assert trainings == (7 if snakefile == "Snakefile" else 14)


def test_a_machine_that_only_submits_needs_no_gpu() -> None:
    assert in_process.genifer("check", "--elsewhere", "--config", ROOT / "config" / "config.yaml") == 0
