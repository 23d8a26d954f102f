"""One label a tile: softmax and cross-entropy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orbitune.evaluation.calibration import (
    Calibration,
    fit_temperature,
    probabilities,
    score_calibration,
)
from orbitune.evaluation.details.class_intervals import ClassIntervals, class_intervals
from orbitune.evaluation.details.misclassified import Misclassified, find_misclassified
from orbitune.evaluation.metrics import SplitScores, score
from orbitune.evaluation.statistics.intervals import standard_error
from orbitune.evaluation.tasks.score_loss import ScoreLoss, accuracy_loss
from orbitune.evaluation.tasks.task import UNCALIBRATED, Decision, Task
from orbitune.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

TOP_K = 3  # classes of a prediction
_SIGNIFICANT = 256  # 8 bits, as bfloat16 has


class SingleLabel(Task):
    """One label a tile."""

    name = "single-label"
    title = "one label each"
    activation = "softmax"
    problem_type = None
    losses = ("cross-entropy",)
    criteria = ("accuracy", "macro-f1", "loss")

    def targets(self, labels: "Tensor", classes: int) -> "Tensor":
        """Return one-hot vectors."""
        from torch.nn import functional as F

        return F.one_hot(labels, classes).float()

    def loss(
        self, logits: "Tensor", targets: "Tensor", *, recipe: Recipe, class_weights: "Tensor | None"
    ) -> "Tensor":
        """Return the cross-entropy, with label smoothing."""
        from torch.nn import functional as F

        return F.cross_entropy(
            logits, targets, weight=class_weights, reduction="sum", label_smoothing=recipe.label_smoothing
        )

    def count_correct(self, logits: "Tensor", targets: "Tensor") -> "Tensor":
        """Count the tiles whose most probable class is that of the target."""
        return (logits.argmax(1) == targets.argmax(1)).sum()

    def divergence(self, logits: "Tensor", wanted: "Tensor") -> "Tensor":
        """Return the divergence of the softmax."""
        from torch.nn import functional as F

        student, teacher = (each.log_softmax(1) for each in (logits, wanted))
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)

    def class_weights(self, weights: np.ndarray | None, members: np.ndarray) -> np.ndarray:
        """Return weights with a mean of 1 over the training tiles.

        So a learning rate means the same with and without them. Balanced weights are then those of
        scikit-learn, tiles / (classes x tiles of the class).
        """
        counts = members.sum(0)
        weights = 1 / counts if weights is None else weights
        return (weights * len(members) / (weights @ counts)).astype(np.float32)

    def epoch_scores(
        self, logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[str]
    ) -> dict[str, float]:
        """Return loss, accuracy, and macro-F1 with its standard error."""
        scores = score(logits, labels, classes=classes)
        return {
            "validation_loss": scores.loss,
            "validation_accuracy": scores.accuracy,
            "validation_macro_f1": scores.macro_f1,
            "validation_macro_f1_error": standard_error(scores.interval_of_macro_f1),
        }

    def storable(self, logits: np.ndarray) -> np.ndarray:
        """Return logits below the largest of their tile, rounded to 8 significant bits in float16's range.

        Softmax reads differences alone. No predicted class changes, and no probability by more than 0.002;
        rounding takes a third off the size of a compressed file.
        """
        best = logits.argmax(1)[:, None]
        below = (logits - np.take_along_axis(logits, best, 1)).astype(np.float64)
        mantissa, exponent = np.frexp(below)
        limits = np.finfo(np.float16)
        below = np.ldexp(np.round(mantissa * _SIGNIFICANT) / _SIGNIFICANT, exponent)
        below = np.clip(below, limits.min, -limits.tiny)  # others stay below the predicted class
        np.put_along_axis(below, best, 0.0, 1)
        return below.astype(np.float16).astype(np.float32)

    def fit_decision(self, logits: np.ndarray, labels: np.ndarray) -> Decision:
        """Fit the temperature; the label is the most probable class."""
        return Decision(fit_temperature(logits, labels))

    def score(
        self, logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[str], decision: Decision
    ) -> SplitScores:
        """Return accuracy, macro-F1 and scores per class."""
        return score(logits, labels, classes=classes)

    def decide(self, logits: np.ndarray, decision: Decision) -> np.ndarray:
        """Return the most probable class, int64 (N,)."""
        return logits.argmax(1)

    def correct(self, logits: np.ndarray, labels: np.ndarray, *, decision: Decision) -> np.ndarray:
        """Return whether the most probable class is right."""
        return np.asarray(self.decide(logits, decision) == labels)

    def labels_of(self, probabilities: np.ndarray, decision: Decision) -> np.ndarray:
        """Return the most probable class, int64 (N,)."""
        return probabilities.argmax(1)

    def main_scores(
        self, probabilities: np.ndarray, *, labels: np.ndarray, decision: Decision
    ) -> dict[str, float]:
        """Return the accuracy."""
        return {"accuracy": float((probabilities.argmax(1) == labels).mean())}

    def lost_scores(
        self, found: np.ndarray, reference: np.ndarray, *, labels: np.ndarray, decision: Decision
    ) -> tuple[ScoreLoss, ...]:
        """Return the accuracy lost."""
        ours, theirs = (each.argmax(1) == labels for each in (found, reference))
        return (accuracy_loss(ours, theirs),)

    def score_calibration(self, logits: np.ndarray, labels: np.ndarray) -> Calibration:
        """Measure the calibration of the predicted class's probability."""
        return score_calibration(logits, labels)

    def class_intervals(
        self, logits: np.ndarray, labels: np.ndarray, *, decision: Decision
    ) -> list[ClassIntervals]:
        """Return the intervals; the prediction is the most probable class."""
        count, predicted = logits.shape[1], logits.argmax(1)
        tiles, hits, claimed = (
            np.bincount(each, minlength=count) for each in (labels, labels[labels == predicted], predicted)
        )
        return class_intervals(hits, tiles, predicted=claimed)

    def misclassified(
        self, logits: np.ndarray, labels: np.ndarray, *, decision: Decision
    ) -> list[Misclassified]:
        """Return the tiles whose most probable class is wrong."""
        return find_misclassified(self.probabilities(logits, decision), labels)

    def probabilities(self, logits: np.ndarray, decision: Decision = UNCALIBRATED) -> np.ndarray:
        """Return the softmax; rows sum to 1."""
        return probabilities(logits, decision.temperature)

    def mean_logits(self, views: "Sequence[Tensor]") -> "Tensor":
        """Return the logarithm of the mean softmax."""
        import math

        import torch

        log_probabilities = [view.log_softmax(1) for view in views]
        return torch.stack(log_probabilities).logsumexp(0) - math.log(len(log_probabilities))

    def label_count(self, classes: int, top_k: int | None) -> int | None:
        """Return the number of classes to report."""
        return min(top_k or TOP_K, classes)

    def choose(self, probabilities: np.ndarray, decision: Decision, *, top_k: int | None = None) -> list[int]:
        """Return the most probable classes, `TOP_K` unless `top_k` is given."""
        return probabilities.argsort(kind="stable")[::-1][: top_k or TOP_K].tolist()
