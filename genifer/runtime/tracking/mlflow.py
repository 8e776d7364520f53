"""MLflow: one MLflow run per training, stored locally unless MLflow's own variables say otherwise.

``MLFLOW_TRACKING_URI`` replaces the default store, ``mlflow.db`` in the working directory.
``MLFLOW_EXPERIMENT_NAME`` names the experiment; the workflow sets it to the name of the run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from filelock import FileLock
from torch import Tensor

from genifer.runtime.tracking import Tracked

# By default MLflow reports usage over the network.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

PARAMETERS_A_CALL = 100
LOCK = "mlflow.lock"
"""In the working directory, beside MLflow's own database."""

SECONDS_TO_WAIT = 300


class Tracker:
    """Keeps the id of its MLflow run in ``mlflow_run_id``, so that a resumed training continues that run."""

    def __init__(self, tracked: Tracked) -> None:
        # Trainings that start together would all create the database and corrupt it.
        with FileLock(LOCK, timeout=SECONDS_TO_WAIT):
            self.client = MlflowClient()
            self.experiment = self._experiment()
        self.told = 0
        kept = tracked.folder / "mlflow_run_id"
        if tracked.done and kept.is_file():
            self.run = kept.read_text(encoding="utf-8").strip()
            self.client.update_run(self.run, status="RUNNING")
            self.told = self._last_step()
            return
        self.run = self.client.create_run(self.experiment, run_name=tracked.title).info.run_id
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(self.run + "\n", encoding="utf-8")
        self.client.set_tag(self.run, "folder", str(tracked.folder))
        parameters = [Param(name, value) for name, value in tracked.settings.items()]
        for start in range(0, len(parameters), PARAMETERS_A_CALL):
            self.client.log_batch(self.run, params=parameters[start : start + PARAMETERS_A_CALL])

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "genifer")
        found = self.client.get_experiment_by_name(name)
        return self.client.create_experiment(name) if found is None else found.experiment_id

    def _last_step(self) -> int:
        metrics = self.client.get_run(self.run).data.metrics
        return max(
            (metric.step for name in metrics for metric in self.client.get_metric_history(self.run, name)),
            default=0,
        )

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        # MLflow cannot delete what was logged, so a resumed training skips the steps it has logged before.
        if step > self.told:
            now = int(1000 * time.time())
            metrics = [Metric(name, value, now, step) for name, value in scalars.items()]
            self.client.log_batch(self.run, metrics=metrics)

    def image(self, step: int, name: str, image: Tensor) -> None:
        pixels = image.permute(1, 2, 0).numpy()
        self.client.log_image(self.run, pixels, artifact_file=f"{name}/step_{step}.png")

    def close(self, finished: bool) -> None:
        self.client.set_terminated(self.run, "FINISHED" if finished else "KILLED")
