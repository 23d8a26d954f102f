"""Calibration of probabilities, and its correction by temperature scaling.

Logits are divided by a temperature before the softmax (Guo et al. 2017, arXiv:1706.04599), which changes the
confidence but never the predicted class. The temperature is fitted on validation tiles and evaluated on test
tiles. Everything is computed in float64.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Strict

from orbitune.evaluation.intervals import percentile_interval
from orbitune.evaluation.metrics import check_logits, cross_entropy
from orbitune.records import JsonTuple, Record

BINS = 15
_RESAMPLES = 2000
_SEED = 0
_LARGEST_LOG_TEMPERATURE = np.log(100.0)

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


class Calibration(Record):
    """How well the probabilities on one split are calibrated.

    Attributes:
        ece: expected calibration error over bins of equal mass, 0..1. Bins of equal width leave most of them
            empty if most tiles are confident (Nixon et al. 2019, arXiv:1904.01685). It adds up the noise of
            the bins, so it is above zero for perfect calibration too (Kumar et al. 2019, arXiv:1909.10155).
        ece_if_calibrated: 95 % interval of what it is then, see `ece_of_calibrated`; None where an earlier
            version measured, and for several seeds together, which share their tiles.
        ece_equal_width: the same over bins of equal width (Guo et al. 2017), to compare with papers.
        brier: Brier score, 0..2.
        loss: mean cross-entropy in nats.
        reliability: table of the reliability diagram, bins of equal mass.
    """

    ece: float
    ece_if_calibrated: Annotated[tuple[float, float], Strict(False)] | None = None
    ece_equal_width: float
    brier: float
    loss: float
    reliability: JsonTuple[ReliabilityBin]


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature, in 0.01..100, with the lowest cross-entropy.

    It is 1 if every tile is classified correctly, as the cross-entropy has no minimum then.

    Args:
        logits: float (N, C), before the softmax, of validation tiles.
        labels: int64 (N,), the true classes.

    Raises:
        RunError: there are no tiles, or a logit is not finite.
    """
    check_logits(logits, labels, classes=range(logits.shape[1]))
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    from scipy.optimize import minimize_scalar

    logits = logits.astype(np.float64)
    fitted = minimize_scalar(
        lambda log_temperature: cross_entropy(logits / np.exp(log_temperature), labels),
        bounds=(-_LARGEST_LOG_TEMPERATURE, _LARGEST_LOG_TEMPERATURE),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(fitted.x))


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return probabilities, float64 (N, C), of logits (N, C) / temperature.

    Args:
        logits: float (N, C).
        temperature: positive; 1 leaves the logits unchanged.

    Returns:
        float64 (N, C), rows sum to 1.
    """
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def score_calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Measure the calibration on one split.

    Args:
        logits: float (N, C), before the softmax; divided by a temperature from another split to see what it
            corrects. Tiles of several seeds may be concatenated.
        labels: int64 (N,), the true classes.

    Raises:
        RunError: there are no tiles, or a logit is not finite.
    """
    check_logits(logits, labels, classes=range(logits.shape[1]))
    predicted = probabilities(logits)
    table = reliability_table(predicted, labels)
    return Calibration(
        ece=expected_calibration_error(table),
        ece_if_calibrated=ece_of_calibrated(table, len(labels)),
        ece_equal_width=expected_calibration_error(
            reliability_table(predicted, labels, binning="equal-width")
        ),
        brier=brier_score(predicted, labels),
        loss=cross_entropy(logits, labels),
        reliability=table,
    )


def reliability_table(
    predicted: np.ndarray, labels: np.ndarray, *, binning: Binning = "equal-mass", bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Group tiles into bins of confidence.

    Args:
        predicted: probabilities, float (N, C).
        labels: int64 (N,), the true classes.
        binning: bins with equal numbers of tiles, or of equal width in 0..1.
        bins: number of bins.

    Returns:
        The bins that hold tiles, by increasing confidence; fewer than `bins` if there are few tiles.
    """
    return bin_probabilities(
        predicted.max(axis=1), predicted.argmax(axis=1) == labels, binning=binning, bins=bins
    )


def bin_probabilities(
    predicted: np.ndarray, correct: np.ndarray, *, binning: Binning = "equal-mass", bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Group predictions into bins of their probability.

    Args:
        predicted: probabilities, float (N,).
        correct: whether each came true, bool (N,).
        binning, bins: as for `reliability_table`.

    Returns:
        As `reliability_table`.
    """
    order = np.argsort(predicted, kind="stable")
    confidence, correct = predicted[order], correct[order]
    if binning == "equal-mass":
        groups = np.array_split(np.arange(len(order)), bins)
        edges = [(confidence[group[0]], confidence[group[-1]]) for group in groups if len(group)]
    else:
        # A bin includes its upper edge and not its lower one, as in Guo et al.
        indices = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        groups = [np.flatnonzero(indices == index) for index in range(bins)]
        edges = [(index / bins, (index + 1) / bins) for index, group in enumerate(groups) if len(group)]
    return tuple(
        ReliabilityBin(
            low=float(low),
            high=float(high),
            confidence=float(confidence[group].mean()),
            accuracy=float(correct[group].mean()),
            count=len(group),
        )
        for (low, high), group in zip(edges, (g for g in groups if len(g)), strict=True)
    )


def expected_calibration_error(table: Sequence[ReliabilityBin]) -> float:
    """Return the mean difference of confidence and accuracy, 0..1."""
    count = sum(each.count for each in table)
    return float(sum(each.count * abs(each.confidence - each.accuracy) for each in table) / count)


def ece_of_calibrated(table: Sequence[ReliabilityBin], tiles: int) -> tuple[float, float]:
    """Return the 95 % interval of the ECE of perfectly calibrated models, with bins of the same confidence.

    The correct predictions of each bin are drawn with its confidence, with a fixed seed: consistency
    resampling (Broecker and Smith 2007, doi:10.1175/WAF993.1; Vaicenavicius et al. 2019, arXiv:1902.06977).
    An ECE within it shows no miscalibration.

    Args:
        table: bins of confidence, one or more.
        tiles: number of different tiles; the bins may count each several times, once per seed or label, and
            hits of the same tile are taken as one.
    """
    weights = np.array([each.count for each in table], float)
    weights /= weights.sum()
    confidences = np.clip([each.confidence for each in table], 0, 1)
    counts = np.maximum(np.rint(weights * tiles), 1).astype(int)
    drawn = np.random.default_rng(_SEED).binomial(counts, confidences, size=(_RESAMPLES, len(counts)))
    return percentile_interval(np.abs(drawn / counts - confidences) @ weights)


def brier_score(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the Brier score (1950), 0..2, of probabilities (N, C).

    Args:
        predicted: probabilities, float (N, C).
        labels: int (N,).

    Returns:
        0 (best) to 2.
    """
    truth = np.eye(predicted.shape[1])[labels]
    return float(((predicted - truth) ** 2).sum(axis=1).mean())
