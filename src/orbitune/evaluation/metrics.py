"""Scores of a classifier: accuracy, macro-F1, loss, per class, confusion.

They equal those of scikit-learn and SciPy, whose imports take longer than scoring a small run. The interval
of the accuracy is Wilson's (1927, doi:10.1080/01621459.1927.10502953), which stays within 0..1 and keeps its
coverage near 100 %, unlike the normal approximation.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from pydantic import FiniteFloat, NonNegativeInt

from orbitune.errors import RunError
from orbitune.models.lineage.scores import Scores
from orbitune.records import JsonTuple, Record


class ClassScores(Record):
    """Scores of one class.

    Attributes:
        name: of the class.
        precision, recall, f1: 0..1.
        support: number of its tiles.
    """

    name: str
    precision: FiniteFloat
    recall: FiniteFloat
    f1: FiniteFloat
    support: NonNegativeInt


class SplitScores(Scores):
    """All scores on one split.

    Attributes:
        macro_f1: the mean over the classes that have tiles in this split.
        loss: mean cross-entropy in nats.
        per_class: in the order of the classes; one without tiles in this split has support 0.
        confusion: number of tiles by true class (rows) and predicted class (columns).
    """

    count: NonNegativeInt
    macro_f1: FiniteFloat
    loss: FiniteFloat
    per_class: JsonTuple[ClassScores]
    confusion: JsonTuple[JsonTuple[NonNegativeInt]] = ()

    def summary(self) -> Scores:
        """Return the scores without those of single classes."""
        return Scores(
            accuracy=self.accuracy, interval=self.interval, macro_f1=self.macro_f1, count=self.count
        )


def score(logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[str]) -> SplitScores:
    """Score a classifier on one split.

    Args:
        logits: float (N, C), before the softmax.
        labels: int64 (N,), the true classes, 0..C-1.
        classes: C names, in the order of the columns.

    Raises:
        RunError: there is nothing to score, or a logit is not finite.
    """
    check_logits(logits, labels, classes=classes)
    pairs = labels * len(classes) + logits.argmax(axis=1)
    confusion = np.bincount(pairs, minlength=len(classes) ** 2).reshape(len(classes), -1)
    hits, support, named = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    precision, recall, f1 = (
        _fractions(*each) for each in ((hits, named), (hits, support), (2 * hits, support + named))
    )
    correct = int(hits.sum())
    low, high = wilson(correct, len(labels))
    return SplitScores(
        count=len(labels),
        accuracy=correct / len(labels),
        interval=(low, high),
        macro_f1=float(f1[support > 0].mean()),
        loss=cross_entropy(logits, labels),
        per_class=tuple(
            ClassScores(
                name=str(name),
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=float(f1[i]),
                support=int(support[i]),
            )
            for i, name in enumerate(classes)
        ),
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def _fractions(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """Return parts / wholes, float64; 0 where there is nothing to divide by."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)


def wilson(correct: int, count: int) -> list[float]:
    """Return the 95 % Wilson interval [low, high] of `correct` out of `count`.

    Args:
        correct: number of correct predictions.
        count: number of predictions, at least 1.

    Returns:
        [low, high], fractions 0..1.
    """
    z, p = NormalDist().inv_cdf(0.975), correct / count
    whole = 2 * (count + z**2)
    middle, half = (2 * count * p + z**2) / whole, z / whole * math.sqrt(4 * count * p * (1 - p) + z**2)
    return [0.0 if correct == 0 else middle - half, 1.0 if correct == count else middle + half]


def check_logits(logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[object]) -> None:
    """Check that logits can be scored.

    Args:
        logits: float (N, C).
        labels: int64 (N,).
        classes: the C classes.

    Raises:
        RunError: there are no tiles, or a logit is not finite.
        ValueError: the shapes do not match.
    """
    if len(labels) == 0:
        raise RunError("There are no tiles to score: the split is empty.")
    if logits.shape != (len(labels), len(classes)):
        raise ValueError(f"logits {logits.shape} for {len(labels)} labels of {len(classes)} classes")
    if not np.isfinite(logits).all():
        raise RunError("the model's outputs are not finite: try a lower learning rate or precision fp32.")


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean cross-entropy in nats of logits (N, C) and labels (N,).

    Args:
        logits: float (N, C).
        labels: int (N,).

    Returns:
        Mean over the tiles, in nats.
    """
    # In float64: with 16-bit logits the mean would be rounded to three digits.
    shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    log_totals = np.log(np.exp(shifted).sum(axis=1))
    return float((log_totals - shifted[np.arange(len(labels)), labels]).mean())
