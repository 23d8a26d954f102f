"""Intervals of differences over the folds of a cross-validation."""

from collections.abc import Sequence

import numpy as np

from orbitune.evaluation.statistics.intervals import LEVEL


def corrected_resampled_interval(
    differences: Sequence[float], *, test_to_train: float, level: float = LEVEL
) -> tuple[float, float]:
    """Return the interval of a mean difference by the corrected resampled t test.

    The folds share training tiles, so their differences are correlated, and the ordinary t interval is too
    narrow. The correction multiplies the variance of a fold by 1 / K + n_test / n_train in place of 1 / K
    (Nadeau and Bengio 2003, doi:10.1023/A:1024068626366); it is approximate, and more conservative.

    Args:
        differences: of each of K folds, K >= 2.
        test_to_train: number of test tiles divided by that of training tiles, of a fold.
        level: of confidence, 0..1.

    Returns:
        Low and high end, in the unit of the differences.
    """
    values = np.asarray(differences, float)
    variance = _corrected_variance(values, test_to_train)
    return _interval(float(values.mean()), variance, degrees=len(values) - 1, level=level)


def unpaired_resampled_interval(
    first: Sequence[float], second: Sequence[float], *, test_to_train: tuple[float, float]
) -> tuple[float, float]:
    """Return the 95 % interval of the difference between two cross-validations, first minus second.

    Each mean has the corrected variance of `corrected_resampled_interval`; the difference has their sum, with
    the degrees of freedom of Welch (1947, doi:10.1093/biomet/34.1-2.28).

    Args:
        first, second: values of each fold, two or more.
        test_to_train: as in `corrected_resampled_interval`, of both.

    Returns:
        Low and high end, in the unit of the values.
    """
    values = [np.asarray(each, float) for each in (first, second)]
    variances = [_corrected_variance(*each) for each in zip(values, test_to_train, strict=True)]
    parts = [variance**2 / (len(each) - 1) for variance, each in zip(variances, values, strict=True)]
    total = sum(variances)
    degrees = total**2 / sum(parts) if total else 1.0
    return _interval(float(values[0].mean() - values[1].mean()), total, degrees=degrees, level=LEVEL)


def _corrected_variance(values: np.ndarray, test_to_train: float) -> float:
    """Return the corrected variance of the mean of K values, (K,)."""
    return float((1 / len(values) + test_to_train) * values.var(ddof=1))


def _interval(middle: float, variance: float, *, degrees: float, level: float) -> tuple[float, float]:
    """Return the interval of Student's t around a mean."""
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, degrees)) * variance**0.5
    return middle - half, middle + half
