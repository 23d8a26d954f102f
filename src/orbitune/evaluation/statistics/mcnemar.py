"""McNemar's test (1947) of trained models on the same images.

It is about these trained models alone: with two equal methods whose seeds differ it finds a difference far
too often. With one seed the score test against a difference of zero is its asymptotic form
(`orbitune.evaluation.statistics.paired`), so that alone is reported.
"""

import numpy as np

from orbitune.evaluation.statistics.intervals import count_paired


def mcnemar(method: np.ndarray, reference: np.ndarray) -> float:
    """Return the p value of McNemar's exact two-sided test.

    Args:
        method, reference: bool (N,), whether each model is correct on image n.
    """
    from scipy.stats import binomtest

    wins, losses = int((method & ~reference).sum()), int((reference & ~method).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def mcnemar_over_seeds(method: np.ndarray, reference: np.ndarray) -> float:
    """Return the combined p value of McNemar's tests of each pair of seeds.

    The tests share their images, so their p values are dependent, and Fisher's method does not apply. The
    k-th of S sorted p values, times S / k, is valid under any dependence (Rueger 1978, Metrika 25:171-178;
    Vovk and Wang 2020, doi:10.1093/biomet/asaa027); k is the upper median, so the factor is at most 2. It
    holds for the trained models; the interval of a `Comparison` holds for other seeds too.

    Args:
        method, reference: bool (S, N) and (R, N); the first min(S, R) seeds are paired.
    """
    count_paired(method, reference)
    p_values = sorted(mcnemar(a, b) for a, b in zip(method, reference, strict=False))
    place = len(p_values) // 2 + 1
    return min(1.0, p_values[place - 1] * len(p_values) / place)
