"""Score a finished run again from what it left on disk."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.loader import TileLoader
from orbitune.data.splits import SPLITS
from orbitune.data.tileset import TileSet
from orbitune.errors import RunError, counted
from orbitune.evaluation.details.seen_scores import with_seen
from orbitune.evaluation.metrics import SplitScores
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import open_model
from orbitune.evaluation.tasks.task import Decision
from orbitune.models.lineage.ancestors import changed_link
from orbitune.models.lineage.overlap import describe_unknown, describe_unrecorded
from orbitune.models.lineage.seen_file import read_seen
from orbitune.models.lineage.seen_tiles import find_in_run
from orbitune.progress import ProgressDisplay
from orbitune.resources import make_accelerator
from orbitune.suggestions import unknown
from orbitune.training.run_folder import check_inputs
from orbitune.training.setup import TrainingSetup, prepare_training

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

_LOGGER = logging.getLogger(__name__)


def reopen(run: Path, progress: bool) -> tuple[RunResult, TrainingSetup]:
    """Return the result of a finished run, and its training setup.

    Raises:
        OrbituneError: the run is not finished, or its data or backbone are no longer the same.
    """
    result = RunResult.load(run)
    setup = prepare_training(result.data_recipe, progress)
    if link := changed_link(result.backbone.ancestors, setup.backbone.record.ancestors):
        raise RunError(
            f"{run} was trained on another backbone than {result.recipe.backbone} is now: {link}. "
            "Restore it, or train again with another --out."
        )
    check_inputs(run, setup.inputs())
    return result, setup


def evaluate(run: str | Path, split: str = "test", *, progress: bool = True) -> SplitScores:
    """Load the saved model of a run and score it on a split of the run's own data.

    Reading the test split is counted in the run's result.json.

    Examples:
        >>> from orbitune import evaluate
        >>> scores = evaluate("runs/lora", "validation")
        >>> scores.accuracy, scores.macro_f1

    Args:
        run: folder of a finished run.
        split: train, validation or test.
        progress: whether to show progress on stderr.

    Returns:
        Accuracy with its interval, macro-F1 and scores per class; with several labels a tile, mean average
        precision and F1 with their intervals. `seen` counts the tiles that the run, or one that it started
        from, was trained or validated on.

    Raises:
        OrbituneError: the run is not finished, or its data or backbone are no longer the same.
    """
    if split not in SPLITS:
        raise RunError(unknown("split", split, known=SPLITS))
    folder = Path(run)
    result, setup = reopen(folder, progress)
    model, indices = SavedModel.load(folder, result, setup=setup), setup.splits[split]
    with ProgressDisplay(progress) as display, display.task(split, len(indices)) as task:
        logits = setup.task.storable(model.logits(setup.tiles, indices, after_batch=task.advance))
    if split == "test":
        result.model_copy(update={"test_reads": result.test_reads + 1}).save(folder)
    tiles, whose = counted(len(indices), f"{split} tile"), setup.backbone.record.runs
    if setup.seen is None and read_seen(folder) is None:
        _LOGGER.warning("%s", describe_unknown(tiles, whose))
    elif (found := (setup.seen or {}).get(split)) and found.validated is None:
        _LOGGER.warning("%s", describe_unrecorded(tiles, whose))
    labels, decision = setup.tiles.labels[indices], model.decision
    return with_seen(
        setup.task.score(logits, labels, classes=setup.tiles.classes, decision=decision),
        find_in_run(folder, setup.tiles, splits=setup.splits, indices=indices),
        task=setup.task,
        logits=logits,
        labels=labels,
        decision=decision,
    )


@dataclass(frozen=True)
class SavedModel:
    """The saved model of a finished run, computed as in the run.

    Attributes:
        decision: how its labels follow from its logits.
    """

    setup: TrainingSetup
    network: "nn.Module"
    accelerator: "Accelerator"
    decision: Decision

    @classmethod
    def load(cls, folder: Path, result: RunResult, *, setup: TrainingSetup) -> "SavedModel":
        """Load the model from the run's folder.

        Raises:
            OrbituneError: it cannot be loaded.
        """
        from orbitune.evaluation.network import load_model

        accelerator = make_accelerator()
        saved, metadata = open_model(folder, result)
        model = load_model(saved, setup.recipe, backbone=setup.backbone, metadata=metadata)
        network = setup.network(model.to(accelerator.device), result.compute.attention)
        return cls(setup, network, accelerator, Decision.of(metadata))

    def logits(
        self, tiles: TileSet, indices: np.ndarray, *, after_batch: Callable[[int], None] = lambda count: None
    ) -> np.ndarray:
        """Return the logits of some tiles, float32 (len(indices), C)."""
        return self.setup.predict(
            self.network,
            TileLoader(tiles, self.accelerator.device),
            accelerator=self.accelerator,
            indices=indices,
            tta=self.setup.recipe.tta,
            after_batch=after_batch,
        )
