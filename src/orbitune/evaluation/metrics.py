"""Score a classifier from its logits: accuracy with its interval, macro-F1, loss, per class, confusion.

The counting is scikit-learn's. The interval is Wilson's (1927), which stays inside 0..1 and honest near
100 %, where satellite classifiers live and the usual plus-minus does not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from orbitune.errors import RunError


def score(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Everything a report says about one split, in plain Python numbers ready for JSON.

    Args:
        logits: float (N, C), before the softmax.
        labels: int64 (N,), the true classes, 0..C-1.
        classes: C names, in the order of the columns.

    Returns:
        count; accuracy and macro_f1 in 0..1; interval, the 95 % Wilson interval of the accuracy as
        [low, high]; loss, the mean cross-entropy in nats; per_class, C entries of name, precision, recall,
        f1 and support; confusion, C rows (truth) of C counts (prediction). A class without tiles in this
        split keeps support 0, and macro_f1 averages over the classes that have some.

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
    return {
        "count": len(labels),
        "accuracy": correct / len(labels),
        "interval": wilson(correct, len(labels)),
        "macro_f1": float(f1[support > 0].mean()),
        "loss": cross_entropy(logits, labels),
        "per_class": [
            {
                "name": str(name),
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(classes)
        ],
        "confusion": confusion_matrix(labels, predicted, labels=names).tolist(),
    }


def wilson(correct: int, count: int) -> list[float]:
    """The 95 % Wilson score interval [low, high] of `correct` out of `count`, as shares in 0..1."""
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
