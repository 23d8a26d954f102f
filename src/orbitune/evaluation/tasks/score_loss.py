"""What a score loses from a reference model to another one on the same tiles."""

from math import ceil
from typing import Annotated

import numpy as np
from pydantic import FiniteFloat, Strict

from orbitune.evaluation.statistics.comparison import ALPHA, POWER
from orbitune.evaluation.statistics.intervals import percentile_interval
from orbitune.evaluation.statistics.paired import PairedTest
from orbitune.evaluation.tasks.label_set_scores import mean_average_precision
from orbitune.evaluation.tasks.resampling import resample_scores
from orbitune.evaluation.tasks.thresholds import f1_scores
from orbitune.models.lineage.scores import Fraction
from orbitune.records import Record

_NO_DIFFERENCE = 1e-9  # points: rounding


class ScoreLoss(Record):
    """A score of two models on the same tiles, paired tile by tile.

    Attributes:
        score: its name.
        found, reference: of the model and of the reference model, 0..1.
        points_lost: percentage points that the model has less than the reference.
        low, high: the 95 % interval of `points_lost`.
        alone: number of tiles that only the model, and only the reference model, has right; None for a score
            that is no fraction of the tiles, and where an earlier version measured.
    """

    score: str
    found: Fraction
    reference: Fraction
    points_lost: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    alone: Annotated[tuple[int, int], Strict(False)] | None = None

    def tiles_needed(self, tolerance: float, *, tiles: int) -> int | None:
        """Return the number of tiles whose interval would lie below a tolerance with 80 % power.

        All else is taken as observed. For a fraction of the tiles it is the size of
        `PairedTest.images_needed`. For other scores the interval narrows with the root of the number, or, if
        it is as narrow as `label_set_losses` lets it be, as that of models that agree on all tiles.

        Args:
            tolerance: percentage points.
            tiles: number of tiles that were scored.

        Returns:
            Number of tiles. None if no number is enough: the observed loss is not below the tolerance.
        """
        if not self.points_lost < tolerance:
            return None
        if self.alone is not None:
            return _paired_test(*self.alone, tiles=tiles).images_needed(-tolerance / 100, ALPHA, power=POWER)
        from scipy.stats import norm

        if self.high - self.points_lost <= _narrowest(tiles) + _NO_DIFFERENCE:
            bound = (self.points_lost - tolerance) / 100
            return _paired_test(0, 0, tiles=tiles).images_needed(bound, ALPHA, power=POWER)
        level = float(norm.isf(ALPHA))
        error = (self.high - self.points_lost) / level
        return ceil(tiles * ((level + float(norm.ppf(POWER))) * error / (tolerance - self.points_lost)) ** 2)


def accuracy_loss(found: np.ndarray, reference: np.ndarray) -> ScoreLoss:
    """Return the accuracy lost, with the interval of the paired score test.

    Args:
        found, reference: which tiles each model has right, bool (N,).
    """
    alone = int((found & ~reference).sum()), int((reference & ~found).sum())
    test = _paired_test(*alone, tiles=len(found))
    low, high = test.interval()
    return ScoreLoss(
        score="accuracy",
        found=float(found.mean()),
        reference=float(reference.mean()),
        points_lost=-100 * test.difference + 0.0,
        low=-100 * high,
        high=-100 * low,
        alone=alone,
    )


def _paired_test(wins: int, losses: int, *, tiles: int) -> PairedTest:
    """Return the score test of the tiles that only one of two models has right."""
    return PairedTest(tiles, wins / tiles, losses / tiles, design_effect=1.0, seeds=())


def label_set_losses(
    found: np.ndarray, reference: np.ndarray, *, labels: np.ndarray, thresholds: np.ndarray
) -> tuple[ScoreLoss, ...]:
    """Return the mean average precision and the micro-F1 lost, with paired bootstrap intervals.

    The same resampled tiles are scored with both models (1,000 samples, percentiles of the differences). No
    resample shows a difference that no tile has, and few resamples one that few tiles have. So an interval
    reaches at least as far to each side as that of a fraction of the tiles on which both models agree
    everywhere.

    Args:
        found, reference: probabilities of each model, float (N, C).
        labels: uint8 (N, C).
        thresholds: probability from which a tile has a class, float (C,).
    """
    models = [(each, each >= thresholds) for each in (found, reference)]
    scores = [label_set_scores(each, labels=labels, thresholds=thresholds) for each in (found, reference)]
    resampled = [
        resample_scores(each, labels, decisions={"": decided}, together=False) for each, decided in models
    ]
    losses, narrowest = list[ScoreLoss](), _narrowest(len(labels))
    for score, name in (("mAP", "mean_average_precision"), ("micro-F1", "micro_f1")):
        ours, theirs = (each[score] for each in scores)
        low, high = percentile_interval(100 * (resampled[1][name] - resampled[0][name]))
        lost = 100 * (theirs - ours) + 0.0
        losses.append(
            ScoreLoss(
                score=score,
                found=ours,
                reference=theirs,
                points_lost=lost,
                low=min(low, lost - narrowest),
                high=max(high, lost + narrowest),
            )
        )
    return tuple(losses)


def label_set_scores(
    probabilities: np.ndarray, *, labels: np.ndarray, thresholds: np.ndarray
) -> dict[str, float]:
    """Return the mean average precision and the micro-F1 by the names of their losses, 0..1."""
    return {
        "mAP": mean_average_precision(probabilities, labels),
        "micro-F1": f1_scores(probabilities >= thresholds, labels)[1],
    }


def _narrowest(tiles: int) -> float:
    """Return the points by which the interval of no tile that differs reaches above zero."""
    return 100 * _paired_test(0, 0, tiles=tiles).interval()[1]
