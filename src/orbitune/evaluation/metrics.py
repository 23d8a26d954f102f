"""Score a classifier from its logits: accuracy with its interval, macro-F1, loss, per class, confusion.

The counting is scikit-learn's. The interval is Wilson's (1927), which stays inside 0..1 and honest near
100 %, where satellite classifiers live and the usual plus-minus does not.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import FiniteFloat, NonNegativeInt

from orbitune.errors import RunError
from orbitune.models.metadata import Scores
from orbitune.records import JsonTuple, Record


class ClassScores(Record):
    """Precision, recall and F1 of one class, 0..1, and its number of tiles."""

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


def score(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> SplitScores:
    """Score a classifier on one split.

    Args:
        logits: float (N, C), before the softmax.
        labels: int64 (N,), the true classes, 0..C-1.
        classes: C names, in the order of the columns.

    Raises:
        RunError: there is nothing to score, or a logit is not finite.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    check_logits(logits, labels, classes)
    names, predicted = range(len(classes)), logits.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=names, zero_division=0
    )
    correct = int((predicted == labels).sum())
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
        confusion=confusion_matrix(labels, predicted, labels=names).tolist(),
    )


def wilson(correct: int, count: int) -> list[float]:
    """Return the 95 % Wilson score interval, [low, high] in 0..1, of `correct` out of `count`."""
    from scipy.stats import binomtest

    interval = binomtest(correct, count).proportion_ci(confidence_level=0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def check_logits(logits: np.ndarray, labels: np.ndarray, classes: Sequence[object]) -> None:
    """Raise RunError where there is nothing to score or a logit is not finite."""
    if len(labels) == 0:
        raise RunError("There are no tiles to score: the split is empty.")
    if logits.shape != (len(labels), len(classes)):
        raise ValueError(f"logits {logits.shape} for {len(labels)} labels of {len(classes)} classes")
    if not np.isfinite(logits).all():
        raise RunError("the model's outputs are not finite: try a lower learning rate or precision fp32.")


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean cross-entropy in nats of logits (N, C) with the true classes (N,)."""
    from scipy.special import log_softmax

    # In double: with 16-bit logits the mean itself would be rounded to three digits.
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())
