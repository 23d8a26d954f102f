"""Areas from the confusion of the test tiles."""

import numpy as np
import pytest

from orbitune.mapping.areas.calibrated import calibrated_fractions

# P(map | true) of four classes.
MIXING = np.array([[0.9, 0.1, 0, 0], [0.05, 0.85, 0.1, 0], [0, 0.05, 0.93, 0.02], [0.02, 0, 0.03, 0.95]])
TRUE = np.array([0.82, 0.1, 0.06, 0.02])


def test_true_fractions_are_recovered_from_a_map_that_confuses_as_the_test_tiles_did():
    confusion = (MIXING * 10_000).round().astype(int)
    estimate, low, high = calibrated_fractions(TRUE @ MIXING, confusion, tiles=1e6)
    assert estimate == pytest.approx(TRUE, abs=1e-3)
    assert (low < TRUE).all() and (high > TRUE).all() and (high - low < 0.03).all()


def test_the_class_mix_of_the_test_tiles_does_not_matter():
    even = (MIXING * 1000).round().astype(int)
    uneven = even * np.array([[1], [5], [20], [3]])
    one, other = (calibrated_fractions(TRUE @ MIXING, each, tiles=1e4)[0] for each in (even, uneven))
    assert one == pytest.approx(other, abs=1e-9)


def test_estimates_are_fractions_even_where_the_map_shows_less_than_false_alarms_alone():
    confusion = (MIXING * 100).round().astype(int)
    estimate, low, high = calibrated_fractions(np.array([1.0, 0, 0, 0]), confusion, tiles=50)
    assert estimate.sum() == pytest.approx(1) and (estimate >= 0).all()
    assert (low >= 0).all() and (low <= estimate).all() and (estimate <= high).all() and (high <= 1).all()


def test_a_class_without_test_tiles_is_taken_as_mapped():
    confusion = np.array([[90, 10, 0], [10, 90, 0], [0, 0, 0]])
    mapped = np.array([0.4, 0.4, 0.2])
    assert calibrated_fractions(mapped, confusion, tiles=1000)[0] == pytest.approx(mapped)


def test_classes_that_the_model_cannot_tell_apart_have_wide_intervals():
    confusion = np.array([[50, 50, 0], [50, 50, 0], [0, 0, 100]])
    _, low, high = calibrated_fractions(np.array([0.4, 0.4, 0.2]), confusion, tiles=1000)
    assert (high - low)[:2].min() > 0.7 and (high - low)[2] < 0.1


def coverage(runs, *, tiles, each, seed=0):
    """Fraction of simulated scenes whose intervals hold the true fractions."""
    rng = np.random.default_rng(seed)
    counts = np.round(tiles * TRUE).astype(int)
    held = 0.0
    for _ in range(runs):
        confusion = rng.multinomial(each, MIXING)
        mapped = sum(rng.multinomial(count, row) for count, row in zip(counts, MIXING, strict=True))
        _, low, high = calibrated_fractions(mapped / counts.sum(), confusion, tiles=counts.sum())
        true = counts / counts.sum()
        held += ((low <= true) & (true <= high)).mean()
    return held / runs


def test_intervals_cover_the_truth():
    assert 0.9 < coverage(60, tiles=2000, each=500) < 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("tiles", "each"), [(2000, 540), (400, 200), (20_000, 100)])
def test_intervals_cover_the_truth_in_93_to_97_of_100_scenes(tiles, each):
    assert 0.93 < coverage(1000, tiles=tiles, each=each) < 0.97
