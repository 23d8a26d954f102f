"""Predictions: how labels follow from probabilities and OOD scores."""

from dataclasses import dataclass

import numpy as np

from orbitune.evaluation.tasks.task import Decision, Task
from orbitune.inference.image_inputs import Name


@dataclass(frozen=True)
class Prediction:
    """The prediction for one input.

    Attributes:
        input: its path, or its position among the inputs, from 0.
        labels: class names with their calibrated probabilities, 0..1, the most probable first; with several
            labels a tile those that reach their thresholds, maybe none.
        sure: False for an out-of-distribution input; None where the model has no OOD detector.
        distance: OOD score, >= 0, see `orbitune.evaluation.ood`; None where the model has no OOD detector.
        error: why there is no prediction, to follow the input's name; None where there is one.
    """

    input: Name
    labels: tuple[tuple[str, float], ...] = ()
    sure: bool | None = None
    distance: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class PredictionRule:
    """How the prediction of a tile follows from its probabilities and its OOD score.

    Attributes:
        classes: class names, in the order of the probabilities.
        task: one label a tile, or several.
        decision: its thresholds are those of the labels.
        ood_threshold: OOD score above which a tile is out of distribution; None without an OOD detector.
    """

    classes: tuple[str, ...]
    task: Task
    decision: Decision
    ood_threshold: float | None = None

    def predict(
        self, name: Name, probabilities: np.ndarray, *, distance: float | None, top_k: int | None
    ) -> Prediction:
        """Return the prediction of one tile.

        Args:
            name: of the input.
            probabilities: calibrated, float (C,).
            distance: OOD score; None without an OOD detector.
            top_k: as for `Classifier.predict`.
        """
        best = self.task.choose(probabilities, self.decision, top_k=top_k)
        labels = tuple((self.classes[index], float(probabilities[index])) for index in best)
        return Prediction(name, labels, self.is_sure(distance), distance)

    def is_sure(self, distance: float | None) -> bool | None:
        """Return whether an OOD score is at most the threshold; None without an OOD detector."""
        return None if self.ood_threshold is None or distance is None else distance <= self.ood_threshold
