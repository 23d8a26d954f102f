"""Thresholds hold their rate for further tiles, and rates that so few tiles cannot hold are known."""

import numpy as np
import pytest

from orbitune.evaluation.conformal import can_hold, lower_threshold, smallest_rate, upper_threshold


def exceeded(tiles, rate, *, draws, seed=0):
    """Return how often one further tile exceeds the threshold set on others, with its standard error."""
    scores = np.random.default_rng(seed).lognormal(size=(draws, tiles + 1))
    beyond = [each[-1] > upper_threshold(each[:-1], rate) for each in scores]
    return np.mean(beyond), np.std(beyond) / np.sqrt(draws)


# The quantile of NumPy, even its method "higher", is exceeded by 26 % where 22 tiles are to hold 25 %.
@pytest.mark.parametrize(("tiles", "rate"), [(22, 0.25), (118, 0.05)])
def test_a_further_tile_exceeds_the_threshold_with_no_more_than_the_rate(tiles, rate):
    found, error = exceeded(tiles, rate, draws=8000)
    assert rate - 1 / (tiles + 1) - 2 * error < found < rate + 2 * error


@pytest.mark.slow
@pytest.mark.parametrize(("tiles", "rate"), [(22, 0.25), (118, 0.05), (500, 0.01), (167, 0.03)])
def test_coverage_is_at_least_what_was_asked_for(tiles, rate):
    found, error = exceeded(tiles, rate, draws=200_000)
    assert 1 - found > 1 - rate - 2 * error


def test_the_threshold_is_the_conformal_quantile():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 1 to 99
    assert upper_threshold(scores, 0.05) == 95 and upper_threshold(scores, 0.01) == 99
    assert upper_threshold(scores, 0.005) == np.inf
    assert lower_threshold(scores, 0.05) == 5 and lower_threshold(scores, 0.005) == -np.inf


@pytest.mark.parametrize(("tiles", "rate"), [(20, 0.25), (500, 0.01), (167, 0.03)])
def test_where_a_rate_allows_five_tiles_beyond_four_lie_there(tiles, rate):
    scores = np.random.default_rng(0).normal(size=tiles)
    assert can_hold(rate, tiles) and (scores > upper_threshold(scores, rate)).sum() == 4


def test_a_rate_is_held_where_it_allows_five_tiles_beyond():
    assert can_hold(0.01, 500) and not can_hold(0.01, 499)
    assert [smallest_rate(tiles) for tiles in (24, 300, 500, 600, 5400)] == [
        0.21,
        0.017,
        0.01,
        0.0084,
        0.00093,
    ]
    for tiles in range(5, 3000):
        assert can_hold(smallest_rate(tiles), tiles)
