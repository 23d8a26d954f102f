import numpy as np
import pytest

from orbitune.bench.ratios import FEWEST_ROUNDS, paired_ratio, verdict


def test_the_ratio_is_the_median_of_the_ratios_of_each_round():
    ratio = paired_ratio([10, 30, 8], [5, 10, 8])
    assert ratio.rounds == (2, 3, 1)
    assert ratio.median == 2  # of medians it would be 10 / 8
    assert ratio.low == 1 and ratio.high == 3


@pytest.mark.parametrize("trials", [4000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rounds", [6, 8, 15])
@pytest.mark.parametrize("skewed", [False, True])
def test_the_interval_contains_the_truth_as_often_as_it_says(rounds, skewed, trials):
    """A bootstrap of the median of six rounds contains it in 93 %."""
    random = np.random.default_rng(0)
    covered = 0
    for noise in random.normal(size=(trials, rounds)):
        truth = 3.0
        ratio = paired_ratio(truth * np.exp(noise if skewed else 0.1 * noise), np.ones(rounds))
        covered += ratio.low <= truth <= ratio.high
    error = (0.95 * 0.05 / trials) ** 0.5
    assert covered / trials > 0.95 - 2 * error
    assert covered / trials == pytest.approx(ratio.coverage, abs=4 * error)


def test_the_interval_of_six_rounds_is_their_range_and_that_of_more_is_narrower():
    values = list(range(1, 16))
    six, many = paired_ratio(values[:6], [1] * 6), paired_ratio(values, [1] * 15)
    assert (six.low, six.high) == (1, 6) and six.coverage == 1 - 2 / 2**6
    assert (many.low, many.high) == (4, 12) and 0.95 <= many.coverage < 0.97


@pytest.mark.parametrize(("rounds", "coverage"), [(2, 0.5), (3, 0.75), (5, 0.9375)])
def test_too_few_rounds_have_a_range_that_states_how_little_it_covers(rounds, coverage):
    assert rounds < FEWEST_ROUNDS
    assert paired_ratio(range(1, rounds + 1), [1] * rounds).coverage == coverage


@pytest.mark.parametrize(
    ("values", "targets", "words"),
    [
        ([4.2] * 4, (2.5, 4.0), "target met"),
        ([3.0] * 4, (2.5, 4.0), "requirement met"),
        ([2.0] * 4, (2.5, 4.0), "not met"),
        ([2.4, 2.6, 2.4, 2.7] * 2, (2.5, 4.0), "requirement met, but the interval extends below it"),
        ([2.4, 2.6, 2.4, 2.4] * 2, (2.5, 4.0), "not met, but the interval extends above it"),
        ([2.4, 2.6, 2.4, 2.4], (2.5, 4.0), "not met, but the range extends above it"),
        ([2.0] * 4, (None, None), "no target"),
    ],
)
def test_the_verdict_states_what_was_reached_or_that_it_is_open(values, targets, words):
    assert verdict(paired_ratio(values, [1] * len(values)), at_least=targets[0], aim=targets[1]) == words
