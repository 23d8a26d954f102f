"""The front of cost and accuracy, and the logit axis of the figures."""

import pytest

from orbitune.reporting.drawing import to_error_scale
from orbitune.study.report.figures.costs import pareto_front


def test_the_front_leaves_out_what_another_beats():
    cheap, good, beaten = (1.0, 0.90), (5.0, 0.98), (6.0, 0.97)
    assert pareto_front([good, beaten, cheap]) == [2, 0]


def test_equal_cost_is_won_by_accuracy_and_equal_accuracy_by_cost():
    assert pareto_front([(1.0, 0.9), (1.0, 0.95)]) == [1]
    assert pareto_front([(1.0, 0.9), (2.0, 0.9)]) == [0]


def test_equal_points_are_all_on_the_front():
    assert pareto_front([(1.0, 0.9), (1.0, 0.9)]) == [0, 1]


def test_no_points_have_no_front():
    assert pareto_front([]) == []


def test_equal_steps_are_equal_factors_of_the_errors():
    steps = [to_error_scale(share, 10_000) for share in (0.8, 0.9, 0.95)]
    assert steps[1] - steps[0] == pytest.approx(steps[2] - steps[1])


def test_without_errors_half_a_tile_is_drawn():
    assert to_error_scale(1.0, 500) == pytest.approx(3)
    assert to_error_scale(0.999, 500) == pytest.approx(3)
