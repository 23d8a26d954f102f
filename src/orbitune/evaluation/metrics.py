"""Scores of a classifier: accuracy, macro-F1, loss, per class, confusion.

scikit-learn computes them. The interval of the accuracy is Wilson's, that of macro-F1 a bootstrap over the
tiles.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import FiniteFloat, NonNegativeInt

from orbitune.errors import RunError, counted
from orbitune.evaluation.statistics.intervals import wilson
from orbitune.evaluation.statistics.macro_f1 import macro_f1_interval
from orbitune.models.lineage.scores import Interval, Scores
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

    @property
    def interval_of_macro_f1(self) -> Interval:
        """Return the 95 % interval of macro-F1; an earlier version left it to be found in the confusion."""
        return self.macro_f1_interval or macro_f1_interval(np.array(self.confusion))

    def summary(self) -> Scores:
        """Return the scores without those of single classes."""
        kept = {name: getattr(self, name) for name in Scores.model_fields}
        return Scores(**kept | {"macro_f1_interval": self.interval_of_macro_f1})

    def describe(self) -> str:
        """Return accuracy and macro-F1 with their intervals in words."""
        low, high = self.interval
        return (
            f"accuracy {self.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}, "
            f"{counted(self.count, 'tile')}), macro-F1 {self.describe_macro_f1(4)}"
        )

    def class_table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of a table of the scores per class."""
        rows = [
            [each.name, f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}", f"{each.support:,}"]
            for each in self.per_class
        ]
        return ["class", "precision", "recall", "F1", "tiles"], rows


def score(logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[str]) -> SplitScores:
    """Score a classifier on one split.

    Args:
        logits: float (N, C), before the softmax.
        labels: int64 (N,), the true classes, 0..C-1.
        classes: C names, in the order of the columns.

    Raises:
        RunError: there is nothing to score, or a logit is not finite.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    check_logits(logits, labels, classes=classes)
    names, predicted = range(len(classes)), logits.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=names, zero_division=0
    )
    correct = int((predicted == labels).sum())
    low, high = wilson(correct, len(labels))
    confusion = confusion_matrix(labels, predicted, labels=names)
    return SplitScores(
        count=len(labels),
        accuracy=correct / len(labels),
        interval=(low, high),
        macro_f1=float(f1[support > 0].mean()),
        macro_f1_interval=macro_f1_interval(confusion),
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
        confusion=confusion.tolist(),
    )


def check_logits(logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[object]) -> None:
    """Check that logits can be scored.

    Args:
        logits: float (N, C).
        labels: int64 (N,), or uint8 (N, C) with several labels a tile.
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
    from scipy.special import log_softmax

    # In float64: with 16-bit logits the mean would be rounded to three digits.
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())
