"""The tiles that a model misclassified, the most confident first."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Misclassified:
    """A tile whose prediction is wrong.

    Attributes:
        place: its row among the scored tiles.
        label, predicted: true and predicted class.
        confidence: probability of the predicted class, 0..1.
        label_probability: probability of the true class, 0..1.
    """

    place: int
    label: int
    predicted: int
    confidence: float
    label_probability: float


def find_misclassified(probabilities: np.ndarray, labels: np.ndarray) -> list[Misclassified]:
    """Return all misclassified tiles by falling confidence.

    Args:
        probabilities: float (N, C), calibrated.
        labels: int64 (N,), the true classes.
    """
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(labels)), predicted]
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return [
        Misclassified(
            place=int(place),
            label=int(labels[place]),
            predicted=int(predicted[place]),
            confidence=float(confidence[place]),
            label_probability=float(probabilities[place, labels[place]]),
        )
        for place in order
    ]
