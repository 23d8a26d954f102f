"""Accuracies of each fold of a cross-validation, for intervals over folds."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from orbitune.study.records import RunRecord


class FoldAccuracies(NamedTuple):
    """Test accuracies of one method on one split.

    Attributes:
        percent: of each fold in order, mean over the seeds, 0..100.
        test_to_train: number of test tiles divided by that of training tiles.
    """

    percent: list[float]
    test_to_train: float


def fold_accuracies(runs: Sequence[RunRecord], method: str) -> FoldAccuracies | None:
    """Return the accuracy of a method in each fold; None for an ordinary split.

    Args:
        runs: finished runs on one split.
        method: name of the arm.
    """
    own = [run for run in runs if run.method == method and run.fold]
    if not own:
        return None
    percent = [
        fmean(100 * run.finished.test.accuracy for run in own if run.fold == fold)
        for fold in dict.fromkeys(run.fold for run in own)
    ]
    sizes = [run.finished.data.sizes for run in own]
    return FoldAccuracies(percent, fmean(each["test"] / each["train"] for each in sizes))
