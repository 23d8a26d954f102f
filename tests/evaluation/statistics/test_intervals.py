"""Intervals of an accuracy: Wilson's for one seed, else a bootstrap."""

import json

import numpy as np
import pytest

from orbitune.evaluation.statistics import intervals
from orbitune.evaluation.statistics.intervals import (
    bootstrap_accuracy,
    bootstrap_difference,
    bootstrap_unpaired_difference,
    mean_accuracy,
    pool_accuracies,
    wilson,
)


def right(*accuracies: int, images: int = 1000) -> np.ndarray:
    """One seed for each number of images, right on that many."""
    return np.arange(images) < np.array(accuracies)[:, None]


def study(random, seeds, images, accuracy, spread):
    """Seeds whose accuracy varies by `spread`, on images of varying difficulty."""
    easy = random.random(images) < accuracy  # what nearly every model gets right
    truth = accuracy + random.normal(0, spread, seeds)
    flips = np.where(
        easy, (accuracy - truth)[:, None] / accuracy, (truth - accuracy)[:, None] / (1 - accuracy)
    )
    return easy ^ (random.random((seeds, images)) < flips)


def test_accuracies_on_several_sets_of_tiles_are_pooled_by_their_tiles():
    accuracy, interval = pool_accuracies([0.5, 0.9], [10, 30])
    assert accuracy == 32 / 40 and interval == tuple(wilson(32, 40))


def test_several_seeds_have_the_bootstraps_interval():
    result = mean_accuracy(right(970, 980, 985))
    assert result.mean == pytest.approx(0.9783333)
    assert result.seeds == (0.97, 0.98, 0.985)
    assert result.interval == "bootstrap"
    assert [result.low, result.high] == bootstrap_accuracy(right(970, 980, 985))


def test_one_seed_has_wilsons_interval():
    result = mean_accuracy(right(970))
    assert result.interval == "wilson"
    assert [result.low, result.high] == wilson(970, 1000)


def test_the_results_are_plain_json():
    result = mean_accuracy(right(970, 980)).to_json()
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_bootstrap_of_one_seed_agrees_with_wilsons_interval():
    assert bootstrap_accuracy(right(970)) == pytest.approx(wilson(970, 1000), abs=0.002)


def test_the_bootstrap_of_equal_seeds_is_that_of_one():
    assert bootstrap_accuracy(right(970, 970, 970)) == pytest.approx(
        bootstrap_accuracy(right(970)), abs=0.001
    )


def test_the_bootstrap_gives_the_same_interval_each_time():
    assert bootstrap_accuracy(right(970, 981)) == bootstrap_accuracy(right(970, 981))


def test_pairing_makes_the_interval_of_a_difference_narrow():
    ours, theirs = right(960), right(970)
    low, high = bootstrap_difference(ours, theirs)  # the 10 images decide: sd sqrt(10) / 1000
    assert (low, high) == pytest.approx((-0.01 - 1.96 * 0.00315, -0.01 + 1.96 * 0.00315), abs=0.001)
    low, high = bootstrap_difference(ours, theirs[:, ::-1])  # errors on other images: 70 decide
    assert high - low > 0.03


def test_a_gap_between_other_images_is_as_unsure_as_both_accuracies_together():
    low, high = bootstrap_unpaired_difference(right(970), right(450, images=500))
    error = np.sqrt(0.97 * 0.03 / 1000 + 0.9 * 0.1 / 500)
    assert (low, high) == pytest.approx((0.07 - 1.96 * error, 0.07 + 1.96 * error), abs=0.002)


def test_the_two_sides_of_a_gap_are_drawn_apart():
    # The same draws for both would leave the seeds alone.
    low, high = bootstrap_unpaired_difference(right(970, 980), right(970, 980))
    assert low == pytest.approx(-high, abs=0.001)
    assert high > 1.96 * np.sqrt(2 * 0.975 * 0.025 / 1000)


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.002), (5, 0.004)])
def test_the_bootstrap_interval_of_an_accuracy_holds_the_truth_in_at_least_92_of_100_studies(
    seeds, spread, monkeypatch
):
    monkeypatch.setattr(intervals, "RESAMPLES", 2000)
    random = np.random.default_rng(seeds)
    held = 0
    for _ in range(300):
        low, high = bootstrap_accuracy(study(random, seeds, 2000, 0.97, spread))
        held += low <= 0.97 <= high
    assert held >= 0.92 * 300


def test_seeds_that_are_right_on_every_image_leave_a_doubt_that_falls_with_the_images():
    """Resampling finds no error where there is none; without added images the interval was 100 % alone."""
    for images in (20, 100, 2000):
        low, high = bootstrap_accuracy(right(*[images] * 3, images=images))
        assert (low, high) == pytest.approx(wilson(images, images), abs=2.5 / images)
        assert low < 1 == high


def test_a_gap_between_sets_that_are_all_right_is_not_surely_zero():
    low, high = bootstrap_unpaired_difference(right(50, 50, images=50), right(200, 200, images=200))
    assert -0.12 < low < 0 < high < 0.05


def held_near_one(studies: int, seeds: int, images: int, accuracy: float) -> float:
    """The share of simulated studies whose interval has the truth, on images of varying difficulty."""
    random, held = np.random.default_rng(0), 0
    for _ in range(studies):
        easy = random.beta(0.3 * accuracy, 0.3 * (1 - accuracy), images)
        low, high = bootstrap_accuracy(random.random((seeds, images)) < easy)
        held += low <= accuracy <= high
    return held / studies


@pytest.mark.parametrize(("seeds", "images", "accuracy"), [(2, 100, 0.995), (3, 600, 0.998)])
def test_near_100_percent_the_interval_holds_the_truth(monkeypatch, seeds, images, accuracy):
    """Plain resampling held it in 46 and 81 of 100 studies."""
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    assert held_near_one(120, seeds, images, accuracy) >= 0.95 - 2 * 0.02


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize(("images", "accuracy"), [(30, 0.95), (100, 0.995), (600, 0.998), (5400, 0.99)])
def test_near_100_percent_the_interval_holds_the_truth_in_many_studies(monkeypatch, seeds, images, accuracy):
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    assert held_near_one(1000, seeds, images, accuracy) >= 0.92


def held_gaps(studies: int, seeds: int, spread: float) -> float:
    """The share of simulated studies whose interval has the gap of two splits, truly 10 points."""
    random, held = np.random.default_rng(1), 0
    for _ in range(studies):
        sides = [study(random, seeds, 2000, accuracy, spread) for accuracy in (0.9, 0.8)]
        low, high = bootstrap_unpaired_difference(*sides)
        held += low <= 0.1 <= high
    return held / studies


def test_the_interval_of_a_gap_between_splits_holds_the_truth(monkeypatch):
    """The spread between seeds outweighs that between images: for these alone it would be about 80 %."""
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    assert 0.95 - 2 * 0.02 <= held_gaps(120, seeds=10, spread=0.03) < 1


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (2, 0.003), (5, 0.01), (10, 0.01), (10, 0.03)])
def test_the_interval_of_a_gap_between_splits_holds_the_truth_in_many_studies(monkeypatch, seeds, spread):
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    assert 0.92 <= held_gaps(1000, seeds, spread) <= 0.98


def test_methods_scored_on_other_numbers_of_images_cannot_be_paired():
    with pytest.raises(ValueError, match="paired"):
        bootstrap_difference(right(970), right(970, images=999))


@pytest.mark.parametrize("wrong", [np.ones((0, 5), bool), np.ones(5, bool), np.ones((1, 5))])
def test_other_shapes_than_seeds_by_images_are_refused(wrong):
    with pytest.raises(ValueError, match="seeds, images"):
        mean_accuracy(wrong)
