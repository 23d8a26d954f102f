"""Paired ratios: values of the same round are compared.

So a slow minute of the machine affects both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from orbitune.evaluation.statistics.intervals import LEVEL

FEWEST_ROUNDS = 6  # whose lowest and highest ratio hold the median with 95 % or more: 1 - 2 / 2^6 = 97 %


@dataclass(frozen=True)
class Ratio:
    """Median of the ratios of all rounds, and its interval.

    Attributes:
        rounds: ratio of each round.
        median: of the rounds.
        low, high: the 95 % interval; with fewer than `FEWEST_ROUNDS` the lowest and the highest ratio.
        coverage: probability that the interval holds the median of all rounds that could be run, 0..1.
    """

    rounds: tuple[float, ...]
    median: float
    low: float
    high: float
    coverage: float


def paired_ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Return the ratios `above` / `below`, round by round.

    The interval lies between two order statistics (Thompson 1936, doi:10.1214/aoms/1177732502): the narrowest
    symmetric pair that holds the median with at least 95 %, whatever the distribution. A bootstrap of six
    medians would hold it with less.
    """
    ratios = np.asarray(above, float) / np.asarray(below, float)
    rank, coverage = _order_statistics(len(ratios))
    ordered = np.sort(ratios)
    return Ratio(
        rounds=tuple(ratios.tolist()),
        median=float(np.median(ratios)),
        low=float(ordered[rank - 1]),
        high=float(ordered[-rank]),
        coverage=coverage,
    )


def _order_statistics(rounds: int) -> tuple[int, float]:
    """Return the rank k of the interval from the k-th lowest to the k-th highest, and its coverage."""
    rank, coverage = 1, 1 - 2 * 0.5**rounds
    below = 1  # equally likely patterns of values below the median of which fewer than `rank` are below
    while True:
        below += comb(rounds, rank)
        narrower = 1 - 2 * below * 0.5**rounds
        if narrower < LEVEL:
            return rank, max(0.0, coverage)
        rank, coverage = rank + 1, narrower


def verdict(ratio: Ratio, at_least: float | None, *, aim: float | None) -> str:
    """Return whether the median reaches the targets, as words.

    The words also say if the interval, or the range of too few rounds, contains the target.
    """
    shown = "interval" if ratio.coverage >= LEVEL else "range"
    return judge(ratio.median, at_least, aim=aim, interval=(ratio.low, ratio.high), shown=shown)


def judge(
    value: float,
    required: float | None,
    *,
    aim: float | None,
    at_most: bool = False,
    interval: tuple[float, float] | None = None,
    shown: str = "interval",
) -> str:
    """Return whether a value reaches the aim or the required bound, as words.

    The words also say if the interval contains the bound.

    Args:
        value: as measured.
        required, aim: bounds; None for none.
        at_most: whether smaller values are better.
        interval: of the value; None where it has none.
        shown: what the interval is called.
    """
    bounds = [
        (name, bound) for name, bound in (("target", aim), ("requirement", required)) if bound is not None
    ]
    if not bounds:
        return "no target"
    reached = next((each for each in bounds if (value <= each[1] if at_most else value >= each[1])), None)
    words = f"{reached[0]} met" if reached else "not met"
    _, nearest = reached or bounds[-1]
    low, high = interval or (value, value)
    if not (low <= nearest < high if at_most else low < nearest <= high):
        return words
    return f"{words}, but the {shown} extends {'above' if at_most is bool(reached) else 'below'} it"
