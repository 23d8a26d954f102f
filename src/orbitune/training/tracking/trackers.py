"""Experiment trackers: TensorBoard, MLflow and Weights & Biases.

To add a tracker, subclass `Tracker` and add it to TRACKERS.
"""

import logging
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from orbitune.errors import RunError
from orbitune.suggestions import unknown
from orbitune.training.tracking.tracker import Row, Tracker

PROJECT = "orbitune"  # the experiment or project, where the tracker's own variables name none


class TensorBoardTracker(Tracker):
    """Tracker for TensorBoard; event files are in the run's `tracking/tensorboard`."""

    name = "tensorboard"
    modules = ("tensorboard",)

    def start(self, recipe: dict[str, Any], run_id: str | None, *, first_step: int) -> str:
        """Open an event file; drop events from `first_step` on."""
        from torch.utils.tensorboard import SummaryWriter

        # After a kill, events may be there that were not counted as sent; TensorBoard drops those.
        self._writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=first_step)
        if run_id is None:
            self._write_settings(recipe, 0)
        return "tensorboard"

    def _write_settings(self, settings: dict[str, Any], step: int) -> None:
        table = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
        self._writer.add_text("recipe", f"| setting | value |\n|---|---|\n{table}", step)

    def change(self, settings: dict[str, Any], *, step: int) -> None:
        """Write the new values as the text of this step."""
        self._write_settings(settings, step)

    def send(self, rows: Sequence[Row]) -> None:
        """Write scalars."""
        for step, metrics in rows:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self, status: str) -> None:
        """Close the event file."""
        self._writer.close()


class MLflowTracker(Tracker):
    """Tracker for MLflow; MLFLOW_TRACKING_URI applies, else mlflow.db."""

    name = "mlflow"
    modules = ("mlflow", "sqlalchemy", "alembic")

    def start(self, recipe: dict[str, Any], run_id: str | None, *, first_step: int) -> str:
        """Create a run of MLflow, or set an earlier one to running."""
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it reports the tables of a new mlflow.db
        uri = mlflow.get_tracking_uri()
        self._client = mlflow.MlflowClient(uri, registry_uri=uri)
        if run_id is None:
            run_id = self._create_run(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT), recipe)
        self._run_id = run_id
        self._client.update_run(run_id, "RUNNING")
        return run_id

    def _create_run(self, name: str, recipe: dict[str, Any]) -> str:
        from mlflow.entities import Param

        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        run_id = self._client.create_run(experiment, run_name=self.run_folder.name).info.run_id
        self._client.log_batch(run_id, params=[Param(key, str(value)) for key, value in recipe.items()])
        return str(run_id)

    def change(self, settings: dict[str, Any], *, step: int) -> None:
        """Set tags, such as `recipe.epochs`: MLflow does not let parameters change."""
        for name, value in sorted(settings.items()):
            self._client.set_tag(self._run_id, f"recipe.{name}", str(value))

    def send(self, rows: Sequence[Row]) -> None:
        """Log metrics in batches."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for step, row in rows for name, value in row.items()]
        for start in range(0, len(metrics), 1000):  # the most that MLflow takes at once
            self._client.log_batch(self._run_id, metrics=metrics[start : start + 1000])

    def finish(self, status: str) -> None:
        """Set the status of the run."""
        self._client.set_terminated(self._run_id, status)


class WandbTracker(Tracker):
    """Tracker for Weights & Biases; WANDB_PROJECT, WANDB_MODE etc. apply."""

    name = "wandb"
    modules = ("wandb",)

    def start(self, recipe: dict[str, Any], run_id: str | None, *, first_step: int) -> str:
        """Create a run of Weights & Biases, or resume an earlier one."""
        import wandb

        run_id = run_id or secrets.token_hex(4)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self.run_folder.name,
            id=run_id,
            resume="allow",
            config=recipe,
            dir=str(self.folder),
            settings=wandb.Settings(silent=True, console="off"),
        )
        return run_id

    def change(self, settings: dict[str, Any], *, step: int) -> None:
        """Replace the values in the run's configuration."""
        self._run.config.update(settings, allow_val_change=True)

    def send(self, rows: Sequence[Row]) -> None:
        """Log metrics by step."""
        for step, metrics in rows:
            self._run.log(metrics, step=step)

    def finish(self, status: str) -> None:
        """End the run with exit code 0 if it finished."""
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)


TRACKERS: dict[str, type[Tracker]] = {
    each.name: each for each in (TensorBoardTracker, MLflowTracker, WandbTracker)
}


def make_trackers(names: Iterable[str], run_folder: str | Path) -> list[Tracker]:
    """Return the trackers of these names, as callbacks for the run of a folder.

    Raises:
        RunError: there is no tracker of such a name.
        MissingExtraError: a tracker is not installed.
    """
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in TRACKERS:
            raise RunError(unknown("tracker", name, known=TRACKERS))
    return [TRACKERS[name](run_folder) for name in names]
