"""Estimates from a stratified sample."""

import numpy as np
import pytest

from orbitune.mapping.areas.stratified import StratifiedSample

# Olofsson et al. 2014, table 8: points by map class (rows) and reference class, and pixels of each map class.
# Deforestation, forest gain, stable forest, stable non-forest.
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])


@pytest.fixture
def published():
    """The sample, and bool (N, 4) of the points' map and reference classes."""
    pairs = [(row, column) for row, column in np.ndindex(4, 4) for _ in range(COUNTS[row, column])]
    mapped, true = np.array(pairs).T
    return StratifiedSample(mapped, PIXELS / PIXELS.sum()), np.eye(4)[mapped], np.eye(4)[true]


def test_areas_of_the_published_example(published):
    sample, _, true = published
    area, error = (PIXELS.sum() * each for each in sample.mean(true))
    assert round(area[0]) == 235_086
    assert round(1.96 * error[0]) == 68_418
    assert area.sum() == pytest.approx(PIXELS.sum())


def test_accuracies_of_the_published_example(published):
    sample, mapped, true = published
    overall, overall_error = sample.mean((mapped * true).sum(1, keepdims=True))
    users, users_error = sample.ratio(mapped * true, mapped)
    producers, producers_error = sample.ratio(mapped * true, true)
    assert (round(overall[0], 2), round(1.96 * overall_error[0], 2)) == (0.95, 0.02)
    assert users.round(2).tolist() == [0.88, 0.73, 0.93, 0.96]
    assert (1.96 * users_error).round(2).tolist() == [0.07, 0.10, 0.04, 0.02]
    assert producers.round(2).tolist() == [0.75, 0.85, 0.93, 0.96]
    assert (1.96 * producers_error).round(2).tolist() == [0.21, 0.25, 0.03, 0.02]


def test_a_class_that_no_point_has_has_no_ratio():
    sample = StratifiedSample(np.array([0, 0, 1, 1]), np.array([0.5, 0.5]))
    ratio, error = sample.ratio(np.zeros((4, 1)), np.zeros((4, 1)))
    assert np.isnan(ratio[0]) and np.isnan(error[0])


def coverage(runs, *, points, seed=0):
    """Fraction of random samples whose intervals hold the true fractions."""
    rng = np.random.default_rng(seed)
    weights = np.array([0.6, 0.3, 0.1])
    rows = np.array([[0.9, 0.07, 0.03], [0.15, 0.8, 0.05], [0.1, 0.2, 0.7]])  # P(true | map)
    stratum = np.repeat([0, 1, 2], points)
    held = 0.0
    for _ in range(runs):
        true = np.concatenate([np.eye(3)[rng.choice(3, points, p=row)] for row in rows])
        area, error = StratifiedSample(stratum, weights).mean(true)
        held += (np.abs(area - weights @ rows) <= 1.96 * error).mean()
    return held / runs


def test_intervals_cover_the_truth():
    assert 0.93 < coverage(500, points=100) < 0.97


@pytest.mark.slow
@pytest.mark.parametrize("points", [100, 300])
def test_intervals_cover_the_truth_in_93_to_97_of_100_samples(points):
    assert 0.93 < coverage(5000, points=points) < 0.97
