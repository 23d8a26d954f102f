"""A prediction with its latency and the probabilities of all classes."""

from dataclasses import dataclass

from orbitune.inference.prediction import Prediction


@dataclass(frozen=True)
class ClassProbability:
    """The probability of one class.

    Attributes:
        label: its name.
        probability: calibrated, 0..1.
        threshold: probability from which a tile has the class; None with one label a tile.
    """

    label: str
    probability: float
    threshold: float | None


@dataclass(frozen=True)
class TimedPrediction:
    """A prediction and its latency.

    Attributes:
        prediction: labels with probabilities, or an error.
        seconds: from the bytes of the file to the labels.
        classes: all classes, the most probable first; none if there is an error.
    """

    prediction: Prediction
    seconds: float
    classes: tuple[ClassProbability, ...]

    @property
    def several_labels(self) -> bool:
        """Return whether a tile may have several labels, or none: those that reach their thresholds."""
        return any(each.threshold is not None for each in self.classes)
