"""Scores of several labels a tile: mean average precision and F1.

scikit-learn computes them, with one convention of ours: means over classes leave out those that no tile of
the split has, for which neither is defined.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, FiniteFloat

from orbitune.errors import counted
from orbitune.evaluation.calibration import Calibration
from orbitune.evaluation.details.reliability_table import (
    bin_probabilities,
    ece_of_calibrated,
    expected_calibration_error,
    independent_predictions,
)
from orbitune.evaluation.metrics import ClassScores, SplitScores
from orbitune.evaluation.statistics.intervals import wilson
from orbitune.evaluation.tasks.resampling import bootstrap_scores
from orbitune.evaluation.tasks.thresholds import HALF, f1_scores
from orbitune.models.lineage.scores import Fraction, Interval, LabelSetSummary
from orbitune.records import JsonTuple


class LabelScores(ClassScores):
    """Scores of one of several labels.

    Attributes:
        average_precision: 0..1; None where no tile has the label.
        threshold: probability from which a tile has it.
    """

    average_precision: FiniteFloat | None
    threshold: Fraction


class LabelSetScores(SplitScores):
    """All scores of several labels a tile on one split.

    Attributes:
        accuracy: fraction of the tiles of which all labels are right, at the thresholds.
        macro_f1, micro_f1: at the thresholds; macro-F1 is the mean over the classes that have tiles.
        macro_f1_at_half, micro_f1_at_half: at thresholds of one half.
        mean_average_precision: mean over the classes that have tiles, 0..1.
        micro_average_precision: average precision of all labels ranked together by calibrated probability.
        intervals: 95 % bootstrap intervals over tiles, by the names of these scores.
        loss: mean binary cross-entropy of a label in nats, calibrated.
        ece: expected calibration error of the labels' probabilities, bins of equal mass.
        ece_if_calibrated: as in `Calibration`.
        per_class: in the order of the classes.
    """

    per_class: JsonTuple[LabelScores]
    micro_f1: FiniteFloat
    macro_f1_at_half: FiniteFloat
    micro_f1_at_half: FiniteFloat
    mean_average_precision: FiniteFloat
    micro_average_precision: FiniteFloat
    intervals: dict[str, Interval]
    ece: FiniteFloat
    ece_if_calibrated: Interval | None = None

    @property
    def interval_of_macro_f1(self) -> Interval:
        """Return the 95 % interval of macro-F1."""
        return self.intervals["macro_f1"]

    def summary(self) -> LabelSetSummary:
        """Return the scores without those of single classes."""
        kept = {name: getattr(self, name) for name in LabelSetSummary.model_fields}
        return LabelSetSummary(**kept)

    def headline(self) -> dict[str, float]:
        """Return the main scores by name."""
        return self.summary().headline()

    def describe(self) -> str:
        """Return mean average precision and F1 with their intervals."""
        ends = {name: f"{low:.4f} to {high:.4f}" for name, (low, high) in self.intervals.items()}
        return (
            f"mAP {self.mean_average_precision:.4f} (95 % interval {ends['mean_average_precision']}), "
            f"micro-F1 {self.micro_f1:.4f} ({ends['micro_f1']}), "
            f"macro-F1 {self.macro_f1:.4f} ({ends['macro_f1']}), "
            f"all labels right in {self.accuracy:.2%} of {counted(self.count, 'tile')}"
        )

    def class_table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of a table of the scores per class."""
        header = ["class", "AP", "threshold", "precision", "recall", "F1", "tiles"]
        rows = [
            [
                each.name,
                "" if each.average_precision is None else f"{each.average_precision:.3f}",
                f"{each.threshold:.3f}",
                f"{each.precision:.3f}",
                f"{each.recall:.3f}",
                f"{each.f1:.3f}",
                f"{each.support:,}",
            ]
            for each in self.per_class
        ]
        return header, rows


AnySplitScores = Annotated[LabelSetScores | SplitScores, Field(union_mode="left_to_right")]


def score_label_sets(
    logits: np.ndarray, labels: np.ndarray, *, classes: Sequence[str], thresholds: Sequence[float]
) -> LabelSetScores:
    """Score several labels a tile on one split.

    Args:
        logits: float (N, C), calibrated; N >= 1.
        labels: uint8 (N, C).
        classes: C names.
        thresholds: C probabilities.
    """
    from scipy.special import expit
    from sklearn.metrics import precision_recall_fscore_support

    logits = logits.astype(np.float64)
    predicted = expit(logits)
    decided, at_half = predicted >= np.array(thresholds), predicted >= HALF
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, decided, labels=range(len(classes)), average=None, zero_division=0
    )
    exact = int((decided == labels).all(1).sum())
    macro, micro = f1_scores(decided, labels)
    macro_half, micro_half = f1_scores(at_half, labels)
    average_precisions = _average_precisions(logits, labels)
    low, high = wilson(exact, len(labels))
    calibration = label_calibration(logits, labels)
    return LabelSetScores(
        count=len(labels),
        accuracy=exact / len(labels),
        interval=(low, high),
        macro_f1=macro,
        micro_f1=micro,
        macro_f1_at_half=macro_half,
        micro_f1_at_half=micro_half,
        mean_average_precision=_mean_of_known(average_precisions),
        micro_average_precision=_average_precision(labels.ravel(), logits.ravel()) if labels.any() else 0.0,
        intervals=bootstrap_scores(logits, labels, decisions={"": decided, "_at_half": at_half}),
        loss=calibration.loss,
        ece=calibration.ece,
        ece_if_calibrated=calibration.ece_if_calibrated,
        per_class=tuple(
            LabelScores(
                name=str(name),
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=float(f1[i]),
                support=int(support[i]),
                average_precision=average_precisions[i],
                threshold=float(thresholds[i]),
            )
            for i, name in enumerate(classes)
        ),
    )


def mean_average_precision(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean average precision over the classes that have tiles; 0 if none has.

    Args:
        logits: float (N, C).
        labels: uint8 (N, C).
    """
    return _mean_of_known(_average_precisions(logits, labels))


def _mean_of_known(average_precisions: Sequence[float | None]) -> float:
    """Return the mean of the classes that have tiles; 0 if none has."""
    found = [each for each in average_precisions if each is not None]
    return float(np.mean(found)) if found else 0.0


def _average_precisions(logits: np.ndarray, labels: np.ndarray) -> list[float | None]:
    """Return the average precision of each class; None for one without tiles."""
    return [
        _average_precision(labels[:, c], logits[:, c]) if labels[:, c].any() else None
        for c in range(labels.shape[1])
    ]


def _average_precision(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the average precision, which scikit-learn may round to above 1."""
    from sklearn.metrics import average_precision_score

    return min(1.0, float(average_precision_score(labels, logits)))


def binary_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean binary cross-entropy of a label in nats.

    Args:
        logits: float (N, C).
        labels: uint8 (N, C).
    """
    logits = logits.astype(np.float64)
    return float((np.logaddexp(0, logits) - labels * logits).mean())


def label_calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Measure the calibration of the labels' probabilities.

    The Brier score is the mean over the labels, 0..1; the accuracy of a bin is the frequency of its labels.

    Args:
        logits: float (N, C), calibrated, or those of the model.
        labels: uint8 (N, C).
    """
    from scipy.special import expit

    predicted, present = expit(logits.astype(np.float64)).ravel(), labels.ravel() > 0
    table = bin_probabilities(predicted, present)
    tiles = np.arange(len(labels)).repeat(labels.shape[1])
    predictions = independent_predictions(predicted, present, tiles=tiles)
    return Calibration(
        ece=expected_calibration_error(table),
        predictions=predictions,
        ece_if_calibrated=ece_of_calibrated(table, predictions),
        ece_equal_width=expected_calibration_error(
            bin_probabilities(predicted, present, binning="equal-width")
        ),
        brier=float(((predicted - present) ** 2).mean()),
        loss=binary_cross_entropy(logits, labels),
        reliability=table,
    )
