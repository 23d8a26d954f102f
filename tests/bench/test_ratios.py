import numpy as np
import pytest

from orbitune.bench.ratios import paired_ratio, verdict


def test_the_ratio_is_the_median_of_the_ratios_of_each_round():
    ratio = paired_ratio([10, 30, 8], [5, 10, 8])
    assert ratio.rounds == (2, 3, 1)
    assert ratio.median == 2  # of medians it would be 10 / 8
    assert ratio.low == 1 and ratio.high == 3


def test_the_interval_is_the_same_every_time_and_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        noise = np.exp(random.normal(0, 0.1, 15))
        ratio = paired_ratio(3 * noise, np.ones(15))
        assert ratio == paired_ratio(3 * noise, np.ones(15))
        covered += ratio.low <= 3 <= ratio.high
    assert covered >= 0.9 * 200


@pytest.mark.parametrize(
    ("values", "targets", "words"),
    [
        ([4.2] * 4, (2.5, 4.0), "target met"),
        ([3.0] * 4, (2.5, 4.0), "requirement met"),
        ([2.0] * 4, (2.5, 4.0), "not met"),
        ([2.4, 2.6, 2.4, 2.7], (2.5, 4.0), "requirement met, but the interval extends below it"),
        ([2.4, 2.6, 2.4, 2.4], (2.5, 4.0), "not met, but the interval extends above it"),
        ([2.0] * 4, (None, None), "no target"),
    ],
)
def test_the_verdict_states_what_was_reached_or_that_it_is_open(values, targets, words):
    assert verdict(paired_ratio(values, [1] * 4), at_least=targets[0], aim=targets[1]) == words
