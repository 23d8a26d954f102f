"""Robustness of a finished run, stored as robustness.json in its folder."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from orbitune.data.sensor.corruptions import CORRUPTIONS, corrupt
from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.robustness import EVALUATIONS, Robustness, score_corruptions
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.tasks.known import require_single_label
from orbitune.progress import ProgressDisplay
from orbitune.records import RecordError
from orbitune.training.evaluate import SavedModel, reopen
from orbitune.training.setup import TrainingSetup

_SEED = 0  # of the sample; the runs of one split are tried on the same tiles


def score_robustness(run: str | Path, count: int, *, progress: bool = True) -> Robustness:
    """Score a finished run's model on corrupted validation tiles.

    The validation split is used, so that the test split stays unread. Scores that are already stored for as
    many tiles and the same kinds of corruption are returned.

    Args:
        count: tiles in the sample; all where there are fewer.

    Raises:
        OrbituneError: no tiles are asked for, the run is not finished, or its data or backbone are no longer
            the same.
    """
    folder = Path(run)
    if count < 1:
        raise RunError("Robustness needs at least one tile.")
    stored = RunResult.load(folder)
    require_single_label(stored.recipe.task, "Scores of corrupted tiles", name=folder.resolve().name)
    count = min(count, stored.data.sizes["validation"])
    file = folder / "robustness.json"
    if (kept := _read_cached(file)) and kept.count == count and _has_all_kinds(kept):
        return kept
    result, setup = reopen(folder, progress)
    sample = np.random.default_rng(_SEED).choice(setup.splits["validation"], count, replace=False)
    model = SavedModel.load(folder, result, setup=setup)

    def predict(pixels: np.ndarray) -> np.ndarray:
        return model.logits(replace(setup.tiles, tiles=pixels), np.arange(len(pixels)))

    with (
        ProgressDisplay(progress) as display,
        display.task("robustness", count * EVALUATIONS) as task,
    ):
        scores = score_corruptions(
            predict,
            setup.tiles.read(sample),
            labels=setup.tiles.labels[sample],
            corrupted=_corruptor(setup),
            after_batch=task.advance,
        )
    scores.write(file)
    return scores


def _corruptor(setup: TrainingSetup) -> Callable[..., np.ndarray]:
    """Return the function that corrupts tiles of the run's bands."""
    if setup.tiles.is_rgb:
        return corrupt
    white = np.array(setup.tiles.statistics(setup.splits["train"]).high)
    return partial(corrupt, wavelengths=setup.tiles.wavelengths, white=white.clip(1))


def _has_all_kinds(scores: Robustness) -> bool:
    """Return whether stored scores are of today's kinds of corruption."""
    return [kind.name for kind in scores.corruptions] == list(CORRUPTIONS)


def _read_cached(file: Path) -> Robustness | None:
    """Return what was measured before; None if it is missing or damaged."""
    try:
        return Robustness.read(file)
    except (OrbituneError, RecordError):
        return None
