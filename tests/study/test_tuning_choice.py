"""The choice among trained learning rates: ties go to the middle."""

import pytest

from orbitune.study.tune.choice import choose

CERTAIN = dict.fromkeys(range(5), 0.0)  # no variance over the choice of validation tiles


def choice(*scores, sampling=CERTAIN):
    return choose({place: [each] for place, each in enumerate(scores)}, range(len(scores)), sampling=sampling)


def test_the_best_rate_is_chosen_where_nothing_is_tied_with_it():
    found = choice(0.90, 0.94, 0.96)
    assert (found.chosen, found.best, found.tied) == (2, 2, (2,))


def test_of_tied_rates_the_middle_one_is_chosen():
    found = choice(0.96, 0.955, 0.955, 0.90, 0.80, sampling=dict.fromkeys(range(5), 0.01**2))
    assert (found.chosen, found.best, found.tied) == (1, 0, (0, 1, 2))


@pytest.mark.parametrize(("scores", "chosen"), [((0.96, 0.96, 0.8, 0.8), 1), ((0.8, 0.8, 0.96, 0.96), 2)])
def test_of_two_middles_the_one_nearer_to_the_middle_of_all_rates_is_chosen(scores, chosen):
    assert choice(*scores).chosen == chosen


def test_of_two_middles_as_near_the_better_one_is_chosen_and_of_equals_the_lower_rate():
    tied = dict.fromkeys(range(5), 0.01**2)
    assert choice(0.5, 0.955, 0.96, 0.5, sampling=tied).chosen == 2
    assert choice(0.5, 0.96, 0.96, 0.5, sampling=tied).chosen == 1


def test_without_a_score_nothing_is_chosen():
    assert choose({}, range(3), sampling={}) is None
