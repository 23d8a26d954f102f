"""Lattice of learning rates that the searches of all methods share."""

import math


def rate_at(place: int) -> float:
    """Return the learning rate at a place of the lattice: 1e-4 at -8, 3e-4 at -7, 1e-3 at -6."""
    power, half = divmod(place, 2)
    return float(f"{3 if half else 1}e{power}")


def nearest_place(rate: float) -> int:
    """Return the place of the lattice that is nearest to a learning rate, by its logarithm."""
    first = 2 * math.floor(math.log10(rate))
    return min(range(first, first + 3), key=lambda place: abs(math.log(rate / rate_at(place))))


def around(place: int, count: int) -> range:
    """Return `count` neighbouring places with `place` in their middle.

    An even number has one more below, as rates that are too high do more harm than rates too low.
    """
    first = place - count // 2
    return range(first, first + count)


def learning_rates(default: float, trials: int) -> list[float]:
    """Return the learning rates that a search tries first, rising.

    Args:
        default: the method's default learning rate.
        trials: number of learning rates.
    """
    return [rate_at(place) for place in around(nearest_place(default), trials)]
