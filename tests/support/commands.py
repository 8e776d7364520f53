"""A tiny run, and running commands on it as a user would."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

TINY: dict[str, Any] = {
    "run": "quickstart",
    "data": {"dataset": "digits", "image_size": 8, "channels": 1, "mean": None, "std": None},
    "scenario": {"tasks": [4, 3, 3]},
    "classifier": {"width": 4},
    "generator": {"latent_dim": 8, "embedding_dim": 4, "style_dim": 8, "channels": [8, 8, 8, 4]},
    "discriminator": {"width": 4},
    "pretrain_classifier": {"steps": 20},
    "gan": {"batch_size": 8},
    "pretrain_gan": {"steps": 3},
    "train_gan": {"steps": 3},
    "genifer": {"steps": 3},
    "finetune": {"steps": 3},
    "joint": {"steps": 3},
    "lwf": {"steps": 3},
    "ewc": {"importance_images": 5},
    "abd": {"inversion_steps": 2, "inversion_batch_size": 8},
    "rdfcil": {"inversion_steps": 2, "inversion_batch_size": 8},
    "plots": {"replay_images_per_class": 2, "dpi": 50},
    # Threads of several processes would wait for each other, as would tests that run at once for one GPU;
    # auto may choose another precision elsewhere.
    "runtime": {"threads": 1, "precision": "fp32", "jobs_per_gpu": 16},
}
"""A run on the digits that takes no time and learns nothing."""


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def write_run_file(folder: Path, **changes: Any) -> Path:
    """The tiny run with changes, as a run file."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(merged(TINY, changes)))
    return path


def call(
    command: list[str | Path], folder: Path = ROOT, timeout: float = 540
) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment as a user would."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def planned(folder: Path, *run_files: str | Path, snakefile: str = "workflow/Snakefile") -> set[str]:
    """The jobs that Snakemake would run: rule and wildcards, for example 'train_gan group=genifer seed=0 task=1'."""
    command = ["snakemake", "--dry-run", "--verbose", "--snakefile", snakefile, "--configfile", *run_files]
    done = call(command, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs: list[str] = []
    for line in done.stdout.splitlines():
        if line.startswith(("rule ", "localrule ")):
            jobs.append(line.split()[1].removesuffix(":"))
        elif line.startswith("    wildcards: "):
            jobs[-1] += " " + " ".join(sorted(line.removeprefix("    wildcards: ").split(", ")))
    assert len(set(jobs)) == len(jobs)
    return set(jobs) - {"all"}


def make_clone(folder: Path) -> Path:
    """The files of the repository that the workflow and DVC need, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("workflow", "config", "genifer"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local")
    )
    for name in ("environment.yml", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    return folder
