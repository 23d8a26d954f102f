"""Paired ratios: values of the same round are compared.

So a slow minute of the machine affects both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 10_000
_SEED = 0


@dataclass(frozen=True)
class Ratio:
    """Median of the ratios of all rounds, and its 95 % interval."""

    rounds: tuple[float, ...]
    median: float
    low: float
    high: float


def paired_ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Return the ratios `above` / `below`, round by round.

    The interval is a percentile bootstrap (Efron 1979) with a fixed seed.
    """
    ratios = np.asarray(above, float) / np.asarray(below, float)
    drawn = np.random.default_rng(_SEED).integers(len(ratios), size=(_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), (0.025, 0.975))
    return Ratio(tuple(ratios.tolist()), float(np.median(ratios)), float(low), float(high))


def verdict(ratio: Ratio, at_least: float | None, *, aim: float | None) -> str:
    """Return whether the median reaches the targets, as words.

    The words also say if the interval contains the target.
    """
    targets = [
        (name, value) for name, value in (("target", aim), ("requirement", at_least)) if value is not None
    ]
    if not targets:
        return "no target"
    reached = next(((name, value) for name, value in targets if ratio.median >= value), None)
    words = f"{reached[0]} met" if reached else "not met"
    nearest = reached or targets[-1]
    if not ratio.low < nearest[1] <= ratio.high:
        return words
    return f"{words}, but the interval extends {'below' if reached else 'above'} it"
