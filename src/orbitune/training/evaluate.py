"""Score a finished run again from what it left on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.loader import TileLoader
from orbitune.data.tileset import TileSet
from orbitune.errors import RunError
from orbitune.evaluation.metrics import SplitScores, score
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import open_model
from orbitune.models.checkpoint_io import load_saved
from orbitune.progress import ProgressDisplay
from orbitune.resources import make_accelerator
from orbitune.training.run_folder import check_inputs
from orbitune.training.setup import TrainingSetup, prepare_training

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn


def reopen(run: Path, progress: bool) -> tuple[RunResult, TrainingSetup]:
    """The result of a finished run, and its job anew.

    Raises:
        OrbituneError: the run is not finished, or its data or backbone are no longer the same.
    """
    result = RunResult.load(run)
    job = prepare_training(result.recipe, progress)
    check_inputs(run, job.inputs())
    return result, job


def evaluate(run: str | Path, split: str = "test", progress: bool = True) -> SplitScores:
    """Load the saved model of a run and score it on a split of the run's own data.

    Reading the test split is counted in the run's result.json.

    Raises:
        OrbituneError: the run is not finished, or its data or backbone are no longer the same.
    """
    folder = Path(run)
    result, job = reopen(folder, progress)
    if split not in job.splits:
        raise RunError(f"There is no split {split!r}; there is: {', '.join(job.splits)}.")
    model, indices = SavedModel.of(folder, result, job), job.splits[split]
    with ProgressDisplay(progress) as display, display.task(split, len(indices)) as task:
        logits = model.logits(job.tiles, indices, task.advance)
    if split == "test":
        result.model_copy(update={"test_reads": result.test_reads + 1}).save(folder)
    return score(logits, job.tiles.labels[indices], job.tiles.classes)


@dataclass(frozen=True)
class SavedModel:
    """The saved model of a finished run, which computes as the run did."""

    job: TrainingSetup
    network: "nn.Module"
    accelerator: "Accelerator"

    @classmethod
    def of(cls, folder: Path, result: RunResult, job: TrainingSetup) -> "SavedModel":
        """Load it from the run's folder; an OrbituneError where it cannot be loaded."""
        accelerator = make_accelerator()
        saved, metadata = open_model(folder, result)
        model = load_saved(saved, job.backbone, metadata).to(accelerator.device)
        return cls(job, job.network(model, result.compute.attention), accelerator)

    def logits(
        self, tiles: TileSet, indices: np.ndarray, after_batch: Callable[[int], None] = lambda count: None
    ) -> np.ndarray:
        """Of some tiles, float32 (len(indices), C); see `TrainingSetup.predict`."""
        feed = TileLoader(tiles, self.accelerator.device)
        tta = self.job.recipe.tta
        return self.job.predict(self.network, feed, self.accelerator, indices, tta, after_batch)
