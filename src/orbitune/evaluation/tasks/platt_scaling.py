"""Calibration of several labels a tile: a sigmoid of scaled and shifted logits."""

import numpy as np

_TEMPERATURES = (0.01, 100.0)


def fit_sigmoids(logits: np.ndarray, labels: np.ndarray) -> tuple[float, tuple[float, ...]]:
    """Fit the sigmoids that turn logits into calibrated probabilities.

    Those of Platt (1999, "Probabilistic outputs for support vector machines") have a slope and an offset.
    Here the slope, one over the temperature, is one for all classes, so that few tiles suffice. The offset
    of a class differs from the mean of all by as much as its tiles show: it has a Gaussian prior with a
    standard deviation of one around the mean. Weights of classes in the loss, and the asymmetric loss, shift
    the logits, which a temperature alone cannot correct. The targets are Platt's, not quite 0 and 1, so that
    logits which tell all labels apart have a calibration too.

    Args:
        logits: float (N, C), of validation tiles.
        labels: uint8 (N, C).

    Returns:
        The temperature, 0.01..100, and the offset of each class: the calibrated logits are
        logits / temperature + offsets. No ranking of tiles within a class changes.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    logits, present = logits.astype(np.float64), labels > 0
    count = int(present.sum())
    targets = np.where(present, (count + 1) / (count + 2), 1 / (labels.size - count + 2))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the cross-entropy with the prior, and its gradient."""
        slope, mean, own = values[0], values[1], values[2:]
        found = slope * logits + mean + own
        residuals = expit(found) - targets
        value = (np.logaddexp(0, found) - targets * found).sum() + (own**2).sum() / 2
        gradient = [(residuals * logits).sum(), residuals.sum(), *(residuals.sum(0) + own)]
        return float(value), np.array(gradient)

    low, high = _TEMPERATURES
    bounds = [(1 / high, 1 / low), *[(None, None)] * (logits.shape[1] + 1)]
    start = np.array([1.0, *[0.0] * (logits.shape[1] + 1)])
    fitted = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 1000}).x
    return float(1 / fitted[0]), tuple((fitted[1] + fitted[2:]).tolist())
