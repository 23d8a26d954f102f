"""Thresholds from held-out tiles by split conformal prediction, and the rates that so few tiles can hold.

A threshold at the ceil((n + 1) (1 - rate))-th smallest of n held-out scores is exceeded by a further tile of
the same distribution with at most `rate`, whatever the distribution (Vovk, Gammerman and Shafer 2005,
doi:10.1007/b106715; Angelopoulos and Bates 2021, arXiv:2107.07511). That holds on average over draws of the
held-out tiles. The rate of one draw varies around it, by nearly half where five held-out tiles are expected
beyond; as the rank counts the further tile too, four of them lie there.
"""

from math import ceil, floor, inf, log10

import numpy as np

FEWEST_BEYOND = 5  # held-out tiles that the rate allows beyond a threshold
_ROUNDING = 1e-9


def can_hold(rate: float, tiles: int) -> bool:
    """Return whether this rate, 0..1, allows at least `FEWEST_BEYOND` of the held-out tiles beyond.

    The threshold itself then has at least one fewer beyond.
    """
    return rate * tiles >= FEWEST_BEYOND - _ROUNDING


def smallest_rate(tiles: int) -> float:
    """Return the smallest rate that held-out tiles can hold, rounded up to two digits; may exceed 1.

    Args:
        tiles: number of held-out tiles, 1 or more.
    """
    rate = FEWEST_BEYOND / tiles
    digits = 1 - floor(log10(rate))
    return ceil(rate * 10**digits - _ROUNDING) / 10**digits


def upper_threshold(scores: np.ndarray, rate: float) -> float:
    """Return what a further score exceeds with at most this rate; infinite if there are too few scores.

    Args:
        scores: of held-out tiles, float (N,).
        rate: 0..1.
    """
    rank = ceil((len(scores) + 1) * (1 - rate) - _ROUNDING)
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else inf


def lower_threshold(scores: np.ndarray, rate: float) -> float:
    """Return what a further score falls below with at most this rate; as `upper_threshold`."""
    return -upper_threshold(-scores, rate)
