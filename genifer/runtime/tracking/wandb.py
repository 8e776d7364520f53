"""Weights & Biases: one W&B run per training, in the job's folder unless W&B's own variables say otherwise.

``WANDB_MODE=online`` uploads everything to the account that W&B's other variables name. ``WANDB_PROJECT``
names the project; the workflow sets it to the name of the run.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping

from torch import Tensor

from genifer.runtime.files import atomic_write
from genifer.runtime.tracking import Tracked

# By default W&B uploads everything and reports errors over the network.
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb


class Tracker:
    """Keeps the id of its W&B run and the last logged steps in ``wandb/told.json``.

    W&B cannot delete what was logged, so a resumed training skips the steps it has logged before.
    """

    def __init__(self, tracked: Tracked) -> None:
        folder = tracked.folder / "wandb"
        self.file = folder / "told.json"
        if tracked.done == 0:
            shutil.rmtree(folder, ignore_errors=True)
        resumed = self.file.is_file()
        kept = json.loads(self.file.read_text(encoding="utf-8")) if resumed else {}
        self.id = kept.get("id", secrets.token_hex(4))
        self.told = {kind: kept.get(kind, 0) for kind in ("scalars", "images")}
        folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            id=self.id,
            name=tracked.title,
            project=os.environ.get("WANDB_PROJECT", "genifer"),
            config=dict(tracked.settings),
            resume="allow" if resumed else None,
            reinit="create_new",
            # Do not log the terminal's output, git's state or the code.
            settings=wandb.Settings(
                root_dir=str(tracked.folder), console="off", disable_git=True, disable_code=True, silent=True
            ),
        )
        # Rows may arrive after a sample grid of a later step, but W&B's own steps must not decrease.
        self.run.define_metric("*", step_metric="step")
        self._keep()

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._log("scalars", step, scalars)

    def image(self, step: int, name: str, image: Tensor) -> None:
        pixels = image.permute(1, 2, 0).numpy()
        self._log("images", step, {name: wandb.Image(pixels, file_type="png")})

    def _log(self, kind: str, step: int, values: Mapping[str, object]) -> None:
        if step > self.told[kind]:
            self.run.log({"step": step, **values})
            self.told[kind] = step
            self._keep()

    def _keep(self) -> None:
        with atomic_write(self.file) as temporary:
            temporary.write_text(json.dumps({"id": self.id, **self.told}), encoding="utf-8")

    def close(self, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)
