"""DVCLive: tables of scalars, images and parameters in the job's folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from dvclive.live import Live
from torch import Tensor

from genifer.runtime.tracking import Tracked


class Tracker:
    """Writes to ``dvclive/``; creates neither a DVC experiment nor a dvc.yaml."""

    def __init__(self, tracked: Tracked) -> None:
        folder, done = tracked.folder / "dvclive", tracked.done
        if done == 0:
            shutil.rmtree(folder, ignore_errors=True)
        for table in folder.glob("plots/metrics/*.tsv"):
            _take_back_after(table, done)
        self.live = Live(str(folder), resume=done > 0, dvcyaml=None, save_dvc_exp=False)
        self.live.log_params(dict(tracked.settings))

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self.live.step = step
        for name, value in scalars.items():
            self.live.log_metric(name, value)
        self.live.make_summary()

    def image(self, step: int, name: str, image: Tensor) -> None:
        self.live.step = step
        pixels = image.permute(1, 2, 0).numpy()
        self.live.log_image(f"{name}_{step}.png", pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)

    def close(self, finished: bool) -> None:  # noqa: ARG002
        self.live.end()


def _take_back_after(table: Path, step: int) -> None:
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if int(row.split("\t", 1)[0]) <= step]
    table.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
