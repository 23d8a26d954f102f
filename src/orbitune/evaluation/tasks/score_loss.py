"""What a score loses from a reference model to another one on the same tiles."""

import numpy as np
from pydantic import FiniteFloat

from orbitune.evaluation.intervals import percentile_interval
from orbitune.evaluation.paired import PairedTest
from orbitune.evaluation.tasks.label_set_scores import mean_average_precision
from orbitune.evaluation.tasks.resampling import resample_scores
from orbitune.evaluation.tasks.thresholds import f1_scores
from orbitune.models.lineage.scores import Fraction
from orbitune.records import Record


class ScoreLoss(Record):
    """A score of two models on the same tiles, paired tile by tile.

    Attributes:
        score: its name.
        found, reference: of the model and of the reference model, 0..1.
        points_lost: percentage points that the model has less than the reference.
        low, high: the 95 % interval of `points_lost`.
    """

    score: str
    found: Fraction
    reference: Fraction
    points_lost: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


def accuracy_loss(found: np.ndarray, reference: np.ndarray) -> ScoreLoss:
    """Return the accuracy lost, with the interval of the paired score test.

    Args:
        found, reference: which tiles each model has right, bool (N,).
    """
    test = PairedTest.from_correct(found[None], reference[None])
    low, high = test.interval()
    return ScoreLoss(
        score="accuracy",
        found=float(found.mean()),
        reference=float(reference.mean()),
        points_lost=-100 * test.difference + 0.0,
        low=-100 * high,
        high=-100 * low,
    )


def label_set_losses(
    found: np.ndarray, reference: np.ndarray, *, labels: np.ndarray, thresholds: np.ndarray
) -> tuple[ScoreLoss, ...]:
    """Return the mean average precision and the micro-F1 lost, with paired bootstrap intervals.

    The same resampled tiles are scored with both models (1,000 samples, percentiles of the differences).

    Args:
        found, reference: probabilities of each model, float (N, C).
        labels: uint8 (N, C).
        thresholds: probability from which a tile has a class, float (C,).
    """
    models = [(each, each >= thresholds) for each in (found, reference)]
    resampled = [
        resample_scores(each, labels, decisions={"": decided}, together=False) for each, decided in models
    ]
    precisions = [mean_average_precision(each, labels) for each, _ in models]
    f1 = [f1_scores(decided, labels)[1] for _, decided in models]
    losses = []
    for score, name, (ours, theirs) in (
        ("mAP", "mean_average_precision", precisions),
        ("micro-F1", "micro_f1", f1),
    ):
        low, high = percentile_interval(100 * (resampled[1][name] - resampled[0][name]))
        lost = 100 * (theirs - ours) + 0.0
        losses.append(
            ScoreLoss(score=score, found=ours, reference=theirs, points_lost=lost, low=low, high=high)
        )
    return tuple(losses)
