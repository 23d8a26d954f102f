"""Logits and predictions of runs, aligned by tile for paired statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.errors import RunError
from orbitune.evaluation.saved_outputs import Predictions, read_predictions
from orbitune.fold import Fold
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


def complete_runs(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the finished runs; of a cross-validation, those of seeds whose folds are all finished.

    Args:
        runs: all runs of the study.
    """
    done = [run for run in runs if run.status == "done"]
    whole = {id(run) for own in by_seed(done) if len(own) == _folds(own[0]) for run in own}
    return [run for run in done if id(run) in whole]


def by_seed(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return the runs in lists of one group and seed: the folds, or a single run of an ordinary split."""
    found: dict[tuple[str, int], list[RunRecord]] = {}
    for run in runs:
        found.setdefault((run.group if run.fold else run.name, run.seed), []).append(run)
    return list(found.values())


def _folds(run: RunRecord) -> int:
    """Return the number of folds of a run's cross-validation; 1 for an ordinary split."""
    return Fold.parse(run.fold).count if run.fold else 1


def load_logits(runs: Sequence[RunRecord], folder: str | Path, *, part: str = "test") -> AlignedLogits:
    """Load the logits of finished runs and check that they are of the same tiles.

    The folds of a seed are pooled: each tile has the logits of the model that was tested on it.

    Args:
        runs: one or more runs of a study; of a cross-validation, all folds of each seed.
        folder: the study's folder, which holds the runs.
        part: "test" or "validation".

    Raises:
        RunError: two runs were scored on different tiles, or a predictions.npz is missing or damaged.
    """
    seeds = by_seed(runs)
    tables = [_pool([read_predictions(Path(folder) / run.name, part) for run in own], own) for own in seeds]
    first = tables[0]
    for own, table in zip(seeds, tables, strict=True):
        same = np.array_equal(table.indices, first.indices) and np.array_equal(table.labels, first.labels)
        if not same or table.logits.shape != first.logits.shape:
            raise RunError(f"{own[0].name} of {folder} was scored on other {part} tiles than the other runs.")
    return AlignedLogits(first.indices, first.labels, np.stack([table.logits for table in tables]))


def _pool(tables: Sequence[Predictions], runs: Sequence[RunRecord]) -> Predictions:
    """Return the outputs of all folds as those of one split, in the order of the tiles."""
    if len(tables) == 1:
        return tables[0]
    indices = np.concatenate([table.indices for table in tables])
    order = np.argsort(indices)
    if len(np.unique(indices)) < len(indices):
        raise RunError(f"A tile is in two folds of {', '.join(run.name for run in runs)}.")
    labels, logits = (
        np.concatenate([getattr(table, name) for table in tables])[order] for name in ("labels", "logits")
    )
    return Predictions(indices[order], labels, logits)


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
    done = [run for run in complete_runs(runs) if run.split == split and run.sweep is None]
    if not done:
        raise RunError(f"{folder} has no finished run on split {split}.")
    return predictions_of(done, folder)


def predictions_of(runs: Sequence[RunRecord], folder: str | Path) -> MethodPredictions:
    """Load the test predictions of these runs, of which a method has one group.

    Args:
        runs: as for `load_logits`.
        folder: the study's folder.

    Raises:
        RunError: as `load_logits`.
    """
    found = load_logits(runs, folder)
    predicted = found.logits.argmax(2)
    compared = [own[0] for own in by_seed(runs)]
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
