"""95 % intervals of the scores of single classes, and of macro-F1.

Precision and recall are proportions of tiles and have Wilson intervals. F1 is 2J / (1 + J) of the Jaccard
index J, the proportion of correct tiles among those that are of the class or predicted as it; so the Wilson
interval of J gives that of F1. Macro-F1 is no proportion: its interval is a bootstrap over the tiles.
"""

from typing import Annotated

import numpy as np
from pydantic import Strict

from orbitune.evaluation.metrics import wilson
from orbitune.evaluation.statistics.intervals import percentile_interval
from orbitune.records import Record

RESAMPLES = 2000
_SEED = 0

Interval = Annotated[tuple[float, float], Strict(False)]


class ClassIntervals(Record):
    """95 % intervals of one class, 0..1; None where the score has no tiles to rest on.

    Attributes:
        precision: over the tiles predicted as the class.
        recall: over the tiles of the class.
        f1: over both.
    """

    precision: Interval | None
    recall: Interval | None
    f1: Interval | None


def class_intervals(hits: np.ndarray, actual: np.ndarray, *, predicted: np.ndarray) -> list[ClassIntervals]:
    """Return the intervals of each class.

    Args:
        hits: tiles of the class that are predicted as it, int (C,).
        actual: tiles of the class, int (C,).
        predicted: tiles predicted as the class, int (C,).
    """
    return [
        ClassIntervals(
            precision=_wilson(hit, claimed),
            recall=_wilson(hit, own),
            f1=_f1_of_jaccard(_wilson(hit, own + claimed - hit)),
        )
        for hit, own, claimed in zip(hits.tolist(), actual.tolist(), predicted.tolist(), strict=True)
    ]


def macro_f1_interval(confusion: np.ndarray) -> Interval:
    """Return the 95 % interval of macro-F1, the mean over the classes that have tiles.

    Tiles are resampled with a fixed random seed.

    Args:
        confusion: tiles by true class (rows) and predicted class (columns), int (C, C); at least one tile.
    """
    classes, count = len(confusion), int(confusion.sum())
    rows, columns = np.nonzero(confusion)
    cells = confusion[rows, columns]
    drawn = np.random.default_rng(_SEED).multinomial(count, cells / count, size=RESAMPLES)
    by_row, by_column = np.eye(classes)[rows], np.eye(classes)[columns]
    actual, predicted = drawn @ by_row, drawn @ by_column
    hits = (drawn * (rows == columns)) @ by_row
    # A class without tiles in a sample is left out of its mean, as one without tiles in the data.
    present = actual > 0
    f1 = 2 * hits / np.maximum(actual + predicted, 1)
    means = (f1 * present).sum(1) / present.sum(1)
    return percentile_interval(means)


def _wilson(correct: int, count: int) -> Interval | None:
    if not count:
        return None
    low, high = wilson(correct, count)
    return low, high


def _f1_of_jaccard(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    low, high = (2 * end / (1 + end) for end in interval)
    return low, high
