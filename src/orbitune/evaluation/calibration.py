"""Calibration of probabilities, and its correction by temperature scaling.

Logits are divided by a temperature before the softmax (Guo et al. 2017, arXiv:1706.04599), which changes the
confidence but never the predicted class. The temperature is fitted on validation tiles and evaluated on test
tiles. Everything is computed in float64.
"""

import numpy as np

from orbitune.evaluation.details.class_intervals import Interval
from orbitune.evaluation.details.reliability_table import (
    BINS,
    Binning,
    ReliabilityBin,
    bin_probabilities,
    ece_of_calibrated,
    expected_calibration_error,
    independent_predictions,
)
from orbitune.evaluation.metrics import check_logits, cross_entropy
from orbitune.records import JsonTuple, Record

_LARGEST_LOG_TEMPERATURE = np.log(100.0)
_FEW_WRONG = 10  # tiles


class Calibration(Record):
    """How well the probabilities on one split are calibrated.

    Attributes:
        ece: expected calibration error over bins of equal mass, 0..1. Bins of equal width leave most of them
            empty if most tiles are confident (Nixon et al. 2019, arXiv:1904.01685). It adds up the noise of
            the bins, so it is above zero for perfect calibration too (Kumar et al. 2019, arXiv:1909.10155).
        predictions: number of independent ones: the tiles, or what labels of the same tile or outputs of
            several seeds are worth, see `independent_predictions`; None where an earlier version measured.
        ece_if_calibrated: 95 % interval of the ECE then, see `ece_of_calibrated`; None where an earlier
            version measured.
        ece_equal_width: the same over bins of equal width (Guo et al. 2017), to compare with papers.
        brier: Brier score, 0..2.
        loss: mean cross-entropy in nats.
        reliability: table of the reliability diagram, bins of equal mass.
    """

    ece: float
    predictions: int | None = None
    ece_if_calibrated: Interval | None = None
    ece_equal_width: float
    brier: float
    loss: float
    reliability: JsonTuple[ReliabilityBin]


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature, in 0.01..100, with the lowest cross-entropy.

    It is not below 1 where fewer than ten tiles are wrong: so few cannot show that a model is surer than its
    probabilities say, and if none is wrong the cross-entropy falls with the temperature without end.

    Args:
        logits: float (N, C), before the softmax, of validation tiles.
        labels: int64 (N,), the true classes.

    Raises:
        RunError: there are no tiles, or a logit is not finite.
    """
    check_logits(logits, labels, classes=range(logits.shape[1]))
    wrong = int((logits.argmax(axis=1) != labels).sum())
    if not wrong:
        return 1.0
    from scipy.optimize import minimize_scalar

    logits = logits.astype(np.float64)
    lowest = 0.0 if wrong < _FEW_WRONG else -_LARGEST_LOG_TEMPERATURE
    fitted = minimize_scalar(
        lambda log_temperature: cross_entropy(logits / np.exp(log_temperature), labels),
        bounds=(lowest, _LARGEST_LOG_TEMPERATURE),
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


def score_calibration(
    logits: np.ndarray, labels: np.ndarray, *, tiles: np.ndarray | None = None
) -> Calibration:
    """Measure the calibration on one split.

    Args:
        logits: float (N, C), before the softmax; divided by a temperature from another split to see what it
            corrects. Outputs of several seeds may be concatenated.
        labels: int64 (N,), the true classes.
        tiles: int64 (N,), which tile each row is of; None if all differ.

    Raises:
        RunError: there are no tiles, or a logit is not finite.
    """
    check_logits(logits, labels, classes=range(logits.shape[1]))
    predicted = probabilities(logits)
    table = reliability_table(predicted, labels)
    predictions = len(labels)
    if tiles is not None:
        correct = predicted.argmax(axis=1) == labels
        predictions = independent_predictions(predicted.max(axis=1), correct, tiles=tiles)
    return Calibration(
        ece=expected_calibration_error(table),
        predictions=predictions,
        ece_if_calibrated=ece_of_calibrated(table, predictions),
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
