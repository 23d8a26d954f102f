"""Logits and predictions of runs, aligned by tile for paired statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.errors import RunError
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.study.records import RunRecord


@dataclass(frozen=True)
class AlignedLogits:
    """Logits of several runs for the same tiles.

    Attributes:
        indices: positions of the tiles in the tile set, int64 (N,).
        labels: true classes, int64 (N,).
        logits: float32 (R, N, C), one table per run.
    """

    indices: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


def load_logits(runs: Sequence[RunRecord], folder: str | Path, *, part: str = "test") -> AlignedLogits:
    """Load the logits of finished runs and check that they are of the same tiles.

    Args:
        runs: one or more runs of a study.
        folder: the study's folder, which holds the runs.
        part: "test" or "validation".

    Raises:
        RunError: two runs were scored on different tiles, or a predictions.npz is missing or damaged.
    """
    tables = [read_predictions(Path(folder) / run.name, part) for run in runs]
    first = tables[0]
    for run, table in zip(runs, tables, strict=True):
        same = np.array_equal(table.indices, first.indices) and np.array_equal(table.labels, first.labels)
        if not same or table.logits.shape != first.logits.shape:
            raise RunError(f"{run.name} of {folder} was scored on other {part} tiles than the other runs.")
    return AlignedLogits(first.indices, first.labels, np.stack([table.logits for table in tables]))


@dataclass(frozen=True)
class MethodPredictions:
    """Predictions of all methods for the same test tiles of one split.

    Attributes:
        indices: positions of the tiles in the tile set, int64 (N,).
        labels: true classes, int64 (N,).
        seeds: per method, the seeds of its finished runs in rising order.
        predicted: per method, the predicted classes, int64 (S, N), one row per seed.
    """

    indices: np.ndarray
    labels: np.ndarray
    seeds: dict[str, tuple[int, ...]]
    predicted: dict[str, np.ndarray]

    @property
    def correct(self) -> dict[str, np.ndarray]:
        """Per method, whether each prediction is correct, bool (S, N)."""
        return {method: rows == self.labels for method, rows in self.predicted.items()}


def load_predictions(
    runs: Sequence[RunRecord], folder: str | Path, *, split: str = "default"
) -> MethodPredictions:
    """Load the test predictions of the finished runs on one split, without sweeps.

    Args:
        runs: all runs of the study.
        folder: the study's folder.
        split: name of the split.

    Raises:
        RunError: no run on this split is finished; or as `load_logits`.
    """
    compared = [run for run in runs if run.status == "done" and run.split == split and run.sweep is None]
    if not compared:
        raise RunError(f"{folder} has no finished run on the {split} split.")
    found = load_logits(compared, folder)
    predicted = found.logits.argmax(2)
    rows = {  # of each method, by rising seed
        method: sorted(
            (row for row, run in enumerate(compared) if run.method == method),
            key=lambda row: compared[row].seed,
        )
        for method in dict.fromkeys(run.method for run in compared)
    }
    return MethodPredictions(
        found.indices,
        found.labels,
        seeds={method: tuple(compared[row].seed for row in own) for method, own in rows.items()},
        predicted={method: predicted[own] for method, own in rows.items()},
    )
