"""The tiles whose labels a model got wrong, the most confident first."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Misclassified:
    """A tile whose predicted label, or set of labels, is wrong.

    Attributes:
        place: its row among the scored tiles.
        truth, predicted: true and predicted classes; one of each, unless a tile may have several.
        decided: the predicted class; of several labels, the one on which the model is most confidently wrong.
        confidence: probability that the model gave this decision, 0..1.
        truth_probability: probability that it gave the truth: the true class, or of several labels the
            opposite decision.
    """

    place: int
    truth: tuple[int, ...]
    predicted: tuple[int, ...]
    decided: int
    confidence: float
    truth_probability: float

    @property
    def missed(self) -> bool:
        """Return whether the decision was that the tile has not the class, which it has."""
        return self.decided in self.truth

    @property
    def probability(self) -> float:
        """Return the probability, 0..1, that the model gave the class `decided`."""
        return self.truth_probability if self.missed else self.confidence


def find_misclassified(probabilities: np.ndarray, labels: np.ndarray) -> list[Misclassified]:
    """Return all misclassified tiles of one label by falling confidence.

    Args:
        probabilities: float (N, C), calibrated.
        labels: int64 (N,), the true classes.
    """
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(labels)), predicted]
    wrong = np.flatnonzero(predicted != labels)
    return [
        Misclassified(
            place=int(place),
            truth=(int(labels[place]),),
            predicted=(int(predicted[place]),),
            decided=int(predicted[place]),
            confidence=float(confidence[place]),
            truth_probability=float(probabilities[place, labels[place]]),
        )
        for place in wrong[np.argsort(-confidence[wrong], kind="stable")]
    ]


def find_wrong_sets(
    probabilities: np.ndarray, labels: np.ndarray, *, decided: np.ndarray
) -> list[Misclassified]:
    """Return all tiles with a wrong set of labels, the most confidently wrong first.

    Args:
        probabilities: float (N, C), calibrated.
        labels: uint8 (N, C), the true labels.
        decided: bool (N, C), the predicted ones.
    """
    truth = labels.astype(bool)
    given = np.where(decided, probabilities, 1 - probabilities)
    confidence = np.where(decided != truth, given, -np.inf)
    worst = confidence.argmax(axis=1)
    highest = confidence.max(axis=1)
    wrong = np.flatnonzero((decided != truth).any(axis=1))
    return [
        Misclassified(
            place=int(place),
            truth=tuple(np.flatnonzero(truth[place]).tolist()),
            predicted=tuple(np.flatnonzero(decided[place]).tolist()),
            decided=int(worst[place]),
            confidence=float(highest[place]),
            truth_probability=float(1 - highest[place]),
        )
        for place in wrong[np.argsort(-highest[wrong], kind="stable")]
    ]
