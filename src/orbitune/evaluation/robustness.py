"""Robustness to corruptions: the accuracy by kind and severity.

As in Hendrycks and Dietterich (2019, arXiv:1903.12261), with the corruptions of
`orbitune.data.sensor.corruptions`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from orbitune.data.sensor.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from orbitune.evaluation.statistics.intervals import pool_accuracies, wilson
from orbitune.records import JsonTuple, Record, StoredRecord

EVALUATIONS = 1 + len(CORRUPTIONS) * len(SEVERITIES)  # passes over the tiles


class Accuracy(Record):
    """An accuracy and its 95 % Wilson interval (low, high), 0..1."""

    accuracy: float
    interval: JsonTuple[float]


class SeverityScores(Accuracy):
    """The accuracy at one severity, 1 to 5, of a corruption."""

    severity: int


class CorruptionScores(Record):
    """The accuracy with one kind of corruption.

    Attributes:
        name: key of `orbitune.data.sensor.corruptions.CORRUPTIONS`.
        mean: accuracy over the severities, 0..1.
        severities: accuracy at each.
    """

    name: str
    mean: float
    severities: JsonTuple[SeverityScores]


class Robustness(StoredRecord):
    """Accuracy on clean and corrupted tiles: the content of robustness.json.

    Attributes:
        count: number of tiles.
        clean: accuracy without corruption.
        corruptions: accuracy with each kind of corruption.
        mean: accuracy over all kinds and severities, 0..1.
        loss_interval: 95 % interval of `loss` over the tiles; None in older files, and for one tile.
    """

    UNVERSIONED: ClassVar[int | None] = 1

    count: int
    clean: Accuracy
    corruptions: JsonTuple[CorruptionScores]
    mean: float
    loss_interval: JsonTuple[float] | None = None

    @property
    def loss(self) -> float:
        """Accuracy lost to corruption, mean over kinds and severities, -1..1."""
        return self.clean.accuracy - self.mean

    def describe(self) -> str:
        """Return the scores in one line."""
        return (
            f"{self.clean.accuracy:.2%} of {self.count:,} clean tiles correct, "
            f"{self.mean:.2%} with corruptions"
        )


def pool_robustness(parts: Sequence[Robustness]) -> Robustness:
    """Return the scores over several sets of tiles, each computed by a model of its own.

    The interval of the loss covers other tiles of these sets; it leaves out what other models would change.

    Args:
        parts: of different tiles, with the same corruptions.
    """
    counts = [part.count for part in parts]
    kinds = []
    for same in zip(*(part.corruptions for part in parts), strict=True):
        severities = tuple(
            SeverityScores(severity=points[0].severity, **dict(_pool(points, counts)))
            for points in zip(*(kind.severities for kind in same), strict=True)
        )
        mean = sum(each.accuracy for each in severities) / len(severities)
        kinds.append(CorruptionScores(name=same[0].name, mean=mean, severities=severities))
    pooled = Robustness(
        count=sum(counts),
        clean=_pool([part.clean for part in parts], counts),
        corruptions=tuple(kinds),
        mean=sum(kind.mean for kind in kinds) / len(kinds),
    )
    ends = [part.loss_interval for part in parts]
    if None in ends:
        return pooled
    halves = [count * (high - low) / 2 for count, (low, high) in zip(counts, filter(None, ends), strict=True)]
    half = math.hypot(*halves) / pooled.count
    return pooled.model_copy(update={"loss_interval": (pooled.loss - half, pooled.loss + half)})


def _pool(points: Sequence[Accuracy], counts: Sequence[int]) -> Accuracy:
    """Return the accuracy on several sets of tiles together."""
    accuracy, interval = pool_accuracies([point.accuracy for point in points], counts)
    return Accuracy(accuracy=accuracy, interval=interval)


def score_corruptions(
    predict: Callable[[np.ndarray], np.ndarray],
    tiles: np.ndarray,
    *,
    labels: np.ndarray,
    batch_size: int = 256,
    seed: int = 0,
    corrupted: Callable[..., np.ndarray] = corrupt,
    after_batch: Callable[[int], None] = lambda count: None,
) -> Robustness:
    """Score a classifier on clean tiles and with every corruption.

    Args:
        predict: takes tiles (B, H, W, bands), returns logits (B, C).
        tiles: uint8 or uint16 (N, H, W, bands).
        labels: int64 (N,), the true classes.
        batch_size: tiles per call of `predict`.
        seed: of the corruptions, 0 or more.
        corrupted: `orbitune.data.sensor.corruptions.corrupt`, or a partial of it for other bands than RGB.
        after_batch: called with the number of tiles after each batch, N times `EVALUATIONS` tiles in all.
    """

    def correct(change: Callable[..., np.ndarray]) -> np.ndarray:
        """Return which tiles are classified correctly after a change, bool (N,)."""
        found = []
        for start in range(0, len(tiles), batch_size):
            batch = slice(start, start + batch_size)
            logits = predict(change(tiles[batch], first=start))
            found.append(logits.argmax(axis=1) == labels[batch])
            after_batch(len(logits))
        return np.concatenate(found)

    clean = correct(lambda batch, first: batch)
    survived = np.zeros(len(labels))  # corrupted copies of each tile that are classified correctly
    kinds = []
    for name in CORRUPTIONS:
        severities = []
        for severity in SEVERITIES:
            right = correct(partial(corrupted, kind=name, severity=severity, seed=seed))
            survived += right
            severities.append(SeverityScores(severity=severity, **dict(_accuracy(right))))
        mean = sum(each.accuracy for each in severities) / len(severities)
        kinds.append(CorruptionScores(name=name, mean=mean, severities=tuple(severities)))
    return Robustness(
        count=len(labels),
        clean=_accuracy(clean),
        corruptions=tuple(kinds),
        mean=sum(kind.mean for kind in kinds) / len(kinds),
        loss_interval=_mean_interval(clean - survived / (EVALUATIONS - 1)),
    )


def _accuracy(correct: np.ndarray) -> Accuracy:
    """Return the accuracy of bool (N,), whether each tile is classified correctly."""
    count = int(correct.sum())
    low, high = wilson(count, len(correct))
    return Accuracy(accuracy=count / len(correct), interval=(low, high))


def _mean_interval(losses: np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean loss, from (N,); None for one tile."""
    if len(losses) < 2:
        return None
    middle, half = float(losses.mean()), 1.96 * float(losses.std(ddof=1)) / math.sqrt(len(losses))
    return middle - half, middle + half
