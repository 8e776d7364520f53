"""What a comparison reads of finished runs; tests/report/test_comparison.py has what it makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
from support.made_up_run import made_up_run

from genifer.evaluation.comparison import groups_of, read_run


def test_runs_of_this_and_of_earlier_versions_are_compared(tmp_path: Path) -> None:
    """Tables of earlier versions name neither the run nor the predicted class."""
    layout = made_up_run(tmp_path, run="new", methods=["finetune", "lwf"], scenario={"tasks": [2, 2]})
    old = tmp_path / "old"
    shutil.copytree(layout.results, old)
    for path in old.glob("*.csv"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table.drop(columns=["run", "predicted_name"], errors="ignore").to_csv(path, index=False)
    new_run, old_run = read_run(Path(layout.results)), read_run(old)
    assert "run" not in old_run.accuracy
    [together] = groups_of([new_run, old_run])
    [alone] = groups_of([old_run])
    assert together.accuracy[alone.accuracy.columns].equals(alone.accuracy)
    assert together.old_images == alone.old_images
    assert len(together.sizes) == 2
