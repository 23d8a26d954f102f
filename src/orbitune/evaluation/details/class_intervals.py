"""95 % intervals of the scores of single classes.

Precision and recall are proportions of tiles and have Wilson intervals. F1 is 2J / (1 + J) of the Jaccard
index J, the proportion of correct tiles among those that are of the class or predicted as it; so the Wilson
interval of J gives that of F1.
"""

from typing import Annotated

import numpy as np
from pydantic import Strict

from orbitune.evaluation.statistics.intervals import wilson
from orbitune.records import Record

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
