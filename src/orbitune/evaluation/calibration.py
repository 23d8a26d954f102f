"""Whether a classifier's probabilities can be taken at their word, and one number that mends them.

The temperature is Guo et al.'s (2017, arXiv:1706.04599): logits are divided by it before the softmax, which
changes the confidence and never the class. It is fitted on validation and judged on test. All is computed in
double precision.
"""

from typing import Any, Literal

import numpy as np

from orbitune.evaluation.metrics import check_logits, cross_entropy

BINS = 15
_LARGEST_LOG_TEMPERATURE = np.log(100.0)

Binning = Literal["equal-mass", "equal-width"]


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, between 0.01 and 100, with the least cross-entropy on these tiles.

    It is 1 where every tile is classified rightly: the cross-entropy would then fall with the temperature
    for ever, and nothing is known about the errors to come.

    Args:
        logits: float (N, C), before the softmax; of validation tiles.
        labels: int64 (N,), the true classes.

    Raises:
        RunError: there are no tiles, or a logit is not finite.
    """
    from scipy.optimize import minimize_scalar

    check_logits(logits, labels, range(logits.shape[1]))
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    logits = logits.astype(np.float64)
    fitted = minimize_scalar(
        lambda log_temperature: cross_entropy(logits / np.exp(log_temperature), labels),
        bounds=(-_LARGEST_LOG_TEMPERATURE, _LARGEST_LOG_TEMPERATURE),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(fitted.x))


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Class probabilities, float64 (N, C), of logits (N, C) divided by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def calibration(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Everything a report says about the calibration of one split, ready for JSON.

    Args:
        logits: float (N, C), before the softmax; divided by the temperature that `fit_temperature` found on
            another split, to see what that mends. The tiles of several seeds may follow each other.
        labels: int64 (N,), the true classes.

    Returns:
        ece, the expected calibration error over bins of equal mass, the default since bins of
        equal width leave most of them empty where nearly all tiles are sure (Nixon et al. 2019,
        arXiv:1904.01685); ece_equal_width, the original one, to compare with papers (Guo et al. 2017);
        brier; loss, the mean cross-entropy in nats; reliability, the table to plot, of equal mass.

    Raises:
        RunError: there are no tiles, or a logit is not finite.
    """
    check_logits(logits, labels, range(logits.shape[1]))
    shares = probabilities(logits)
    table = reliability(shares, labels)
    return {
        "ece": calibration_error(table),
        "ece_equal_width": calibration_error(reliability(shares, labels, "equal-width")),
        "brier": brier(shares, labels),
        "loss": cross_entropy(logits, labels),
        "reliability": table,
    }


def reliability(
    shares: np.ndarray, labels: np.ndarray, binning: Binning = "equal-mass", bins: int = BINS
) -> list[dict[str, Any]]:
    """The reliability table: tiles in bins of confidence, the probability of the class that was chosen.

    Args:
        shares: probabilities, float (N, C).
        labels: int64 (N,), the true classes.
        binning: bins with equal numbers of tiles, or of equal width in 0..1.

    Returns:
        One entry for each bin that holds tiles, in order of confidence: low and high, its edges; confidence
        and accuracy, the means of its tiles; count. There are fewer than `bins` where tiles are few.
    """
    confidence = shares.max(axis=1)
    order = np.argsort(confidence, kind="stable")
    confidence, right = confidence[order], (shares.argmax(axis=1) == labels)[order]
    if binning == "equal-mass":
        groups = np.array_split(np.arange(len(order)), bins)
        edges = [(confidence[group[0]], confidence[group[-1]]) for group in groups if len(group)]
    else:
        # A bin holds its upper edge and not its lower one, as in Guo et al.
        places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        groups = [np.flatnonzero(places == place) for place in range(bins)]
        edges = [(place / bins, (place + 1) / bins) for place, group in enumerate(groups) if len(group)]
    return [
        {
            "low": float(low),
            "high": float(high),
            "confidence": float(confidence[group].mean()),
            "accuracy": float(right[group].mean()),
            "count": len(group),
        }
        for (low, high), group in zip(edges, (g for g in groups if len(g)), strict=True)
    ]


def calibration_error(table: list[dict[str, Any]]) -> float:
    """The expected calibration error, 0..1: by how much confidence and accuracy differ, mean over tiles."""
    count = sum(row["count"] for row in table)
    return float(sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in table) / count)


def brier(shares: np.ndarray, labels: np.ndarray) -> float:
    """Brier's score (1950), 0..2: the squared distance of the probabilities (N, C) from the truth."""
    truth = np.eye(shares.shape[1])[labels]
    return float(((shares - truth) ** 2).sum(axis=1).mean())
