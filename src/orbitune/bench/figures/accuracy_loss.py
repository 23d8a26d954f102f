"""Test score that one run lost against another."""

from pathlib import Path
from typing import Any

import numpy as np

from orbitune.bench.figures.scored_tiles import describe_tiles
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import Predictions, read_predictions
from orbitune.evaluation.tasks.known import find_task
from orbitune.evaluation.tasks.task import Decision
from orbitune.recipe import PATH_FIELDS


def measure(run: str, reference_run: str) -> dict[str, Any]:
    """Return the test accuracy, or mAP, lost against the reference run, in percentage points.

    The predictions that the runs stored are compared, so that the test split stays unread.
    """
    (ours, kept), (theirs, reference) = read_runs(run, reference_run, split="test")
    task = find_task(theirs.recipe.task)
    # Neither the ranking nor the main score depends on a temperature or on thresholds.
    found, expected = (task.probabilities(each.logits) for each in (kept, reference))
    lost = task.lost_scores(found, expected, labels=kept.labels, decision=Decision())[0]
    return {
        "value": lost.points_lost,
        "interval": (lost.low, lost.high),
        "details": [
            ["95 % interval", f"{lost.low:.2f} to {lost.high:.2f} points"],
            [f"test {lost.score}", f"{lost.found:.2%}, of the reference {lost.reference:.2%}"],
            *describe_tiles(ours, "test"),
            ["the runs differ in", _differences(ours, theirs)],
        ],
    }


def read_runs(run: str, reference_run: str, *, split: str) -> list[tuple[RunResult, Predictions]]:
    """Return the results of two runs, each with its stored predictions of a split.

    Raises:
        OrbituneError: the runs have different tiles in the split.
    """
    runs = [
        (RunResult.load(Path(each)), read_predictions(Path(each), split)) for each in (run, reference_run)
    ]
    (ours, kept), (theirs, reference) = runs
    if ours.data.fingerprint != theirs.data.fingerprint or not np.array_equal(
        kept.indices, reference.indices
    ):
        raise OrbituneError(
            f"{run} and {reference_run} have different {split} tiles: train both on one split."
        )
    return runs


def _differences(ours: RunResult, theirs: RunResult) -> str:
    """Return the settings in which two runs differ, with both values; paths are none."""
    mine, others = (result.recipe.model_dump(mode="json") for result in (ours, theirs))
    settings = [name for name in mine if name not in PATH_FIELDS and mine[name] != others[name]]
    return ", ".join(f"{name} ({mine[name]}, {others[name]})" for name in settings) or "nothing"
