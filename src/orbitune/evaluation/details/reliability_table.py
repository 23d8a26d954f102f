"""Bins of predictions by their probability, and the calibration error that they give by chance alone."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from orbitune.evaluation.statistics.intervals import percentile_interval
from orbitune.records import Record

BINS = 15
_RESAMPLES = 2000
_SEED = 0

Binning = Literal["equal-mass", "equal-width"]


class ReliabilityBin(Record):
    """The tiles of one bin of confidence, the probability of the predicted class.

    Attributes:
        low, high: edges of the bin, 0..1.
        confidence: mean confidence of its tiles.
        accuracy: of its tiles.
        count: number of its tiles, 1 or more.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


def bin_probabilities(
    predicted: np.ndarray, correct: np.ndarray, *, binning: Binning = "equal-mass", bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Group predictions into bins of their probability.

    Args:
        predicted: probabilities, float (N,).
        correct: whether each came true, bool (N,).
        binning: bins with equal numbers of predictions, or of equal width in 0..1.
        bins: number of bins.

    Returns:
        The bins that hold predictions, by increasing probability; fewer than `bins` if there are few.
    """
    if binning == "equal-mass":
        groups = equal_mass_bins(predicted, bins)
        edges = [(predicted[group[0]], predicted[group[-1]]) for group in groups]
    else:
        # A bin includes its upper edge and not its lower one, as in Guo et al.
        indices = np.clip(np.ceil(predicted * bins).astype(int) - 1, 0, bins - 1)
        groups = [np.flatnonzero(indices == index) for index in range(bins)]
        edges = [(index / bins, (index + 1) / bins) for index, group in enumerate(groups) if len(group)]
    return tuple(
        ReliabilityBin(
            low=float(low),
            high=float(high),
            confidence=float(predicted[group].mean()),
            accuracy=float(correct[group].mean()),
            count=len(group),
        )
        for (low, high), group in zip(edges, (g for g in groups if len(g)), strict=True)
    )


def equal_mass_bins(predicted: np.ndarray, bins: int = BINS) -> list[np.ndarray]:
    """Return the indices of the predictions in each bin of equal mass, by increasing probability.

    Args:
        predicted: probabilities, float (N,).
        bins: number of bins; fewer are returned if there are fewer predictions.
    """
    groups = np.array_split(np.argsort(predicted, kind="stable"), bins)
    return [group for group in groups if len(group)]


def expected_calibration_error(table: Sequence[ReliabilityBin]) -> float:
    """Return the mean difference of confidence and accuracy, 0..1."""
    count = sum(each.count for each in table)
    return float(sum(each.count * abs(each.confidence - each.accuracy) for each in table) / count)


def ece_of_calibrated(table: Sequence[ReliabilityBin], predictions: int) -> tuple[float, float]:
    """Return the 95 % interval of the ECE of perfectly calibrated models, with bins of the same confidence.

    The correct predictions of each bin are drawn with its confidence, with a fixed seed: consistency
    resampling (Broecker and Smith 2007, doi:10.1175/WAF993.1; Vaicenavicius et al. 2019, arXiv:1902.06977).
    An ECE within it shows no miscalibration.

    Args:
        table: bins of confidence, one or more.
        predictions: number of independent ones, see `independent_predictions`.
    """
    weights = np.array([each.count for each in table], float)
    weights /= weights.sum()
    confidences = np.clip([each.confidence for each in table], 0, 1)
    counts = np.maximum(np.rint(weights * predictions), 1).astype(int)
    drawn = np.random.default_rng(_SEED).binomial(counts, confidences, size=(_RESAMPLES, len(counts)))
    return percentile_interval(np.abs(drawn / counts - confidences) @ weights)


def independent_predictions(predicted: np.ndarray, correct: np.ndarray, *, tiles: np.ndarray) -> int:
    """Return the number of independent predictions that show as much of the calibration as these.

    It is the number of predictions if those of a tile come true independently of each other, given their
    probabilities, and less if they tend to come true together: it is divided by the design effect of tiles as
    clusters (Kish 1965, Survey Sampling), which is estimated from those in the same bin of equal mass.

    Args:
        predicted: probabilities, float (N,): of several labels a tile, or of several seeds.
        correct: whether each came true, bool (N,).
        tiles: which tile each is of, int64 (N,).
    """
    found, tiles = correct - predicted, np.unique(tiles, return_inverse=True)[1]
    together = alone = 0.0
    for group in equal_mass_bins(predicted):
        centred = found[group] - found[group].mean()  # miscalibration is no dependence
        together += float((np.bincount(tiles[group], weights=centred) ** 2).sum())
        alone += float((centred**2).sum())
    effect = max(1.0, together / alone) if alone else 1.0
    return max(1, round(len(predicted) / effect))
