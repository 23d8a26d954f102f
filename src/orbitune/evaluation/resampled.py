"""Interval of a difference between two methods over the folds of a cross-validation."""

from collections.abc import Sequence

import numpy as np

from orbitune.evaluation.intervals import LEVEL


def corrected_resampled_interval(
    differences: Sequence[float], *, test_to_train: float
) -> tuple[float, float]:
    """Return the 95 % interval of a mean difference by the corrected resampled t test.

    The folds share training tiles, so their differences are correlated, and the ordinary t interval is too
    narrow. The correction multiplies the variance of a fold by 1 / K + n_test / n_train in place of 1 / K
    (Nadeau and Bengio 2003, doi:10.1023/A:1024068626366); it is approximate, and more conservative.

    Args:
        differences: of each of K folds, K >= 2.
        test_to_train: number of test tiles divided by that of training tiles, of a fold.

    Returns:
        Low and high end, in the unit of the differences.
    """
    from scipy.stats import t

    values = np.asarray(differences, float)
    error = np.sqrt((1 / len(values) + test_to_train) * values.var(ddof=1))
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * error)
    return float(values.mean()) - half, float(values.mean()) + half
