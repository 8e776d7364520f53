"""A run of Weights & Biases for each training: in the job's folder, unless its own variables say otherwise.

``WANDB_MODE=online`` sends everything to the account that W&B's other variables name, and ``WANDB_PROJECT``
names the project; the workflow sets that to the name of the run.
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

# The defaults are to upload, and to report errors over the network.
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb


class Tracker:
    """Keeps its run's id and the last steps it was told in ``wandb/told.json``.

    What W&B was told it does not forget; a resumed training tells it again.
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
            # Neither the terminal nor git and code are W&B's to log.
            settings=wandb.Settings(
                root_dir=str(tracked.folder), console="off", disable_git=True, disable_code=True, silent=True
            ),
        )
        # Rows may come after a sample grid of a later step, which W&B's own steps do not allow.
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
