"""Intervals of the scores of single classes, and of macro-F1."""

import numpy as np
import pytest

from orbitune.evaluation.details.class_intervals import class_intervals
from orbitune.evaluation.statistics.macro_f1 import macro_f1_interval

CONFUSION = np.array([[40, 5, 5], [2, 18, 0], [0, 0, 30]])


def intervals_of(confusion):
    return class_intervals(np.diag(confusion), confusion.sum(1), predicted=confusion.sum(0))


def test_precision_and_recall_have_wilson_intervals():
    first = intervals_of(CONFUSION)[0]
    assert first.recall == pytest.approx((0.6696, 0.8876), abs=1e-4)  # 40 of 50
    assert first.precision == pytest.approx((0.8421, 0.9868), abs=1e-4)  # 40 of 42


def test_a_class_without_tiles_and_predictions_has_no_intervals():
    [_, nothing] = intervals_of(np.array([[7, 0], [0, 0]]))
    assert (nothing.precision, nothing.recall, nothing.f1) == (None, None, None)


def simulated(random, count):
    """A confusion matrix of `count` tiles of a classifier that is known, and its exact F1."""
    cells = CONFUSION / CONFUSION.sum()
    exact = 2 * np.diag(cells) / (cells.sum(0) + cells.sum(1))
    return random.multinomial(count, cells.ravel()).reshape(3, 3), exact


def test_intervals_cover_the_exact_f1_in_about_95_of_100_samples():
    random = np.random.default_rng(0)
    single, macro = [], []
    for _ in range(200):
        confusion, exact = simulated(random, 120)
        intervals = [each.f1 for each in intervals_of(confusion)]
        single += [low <= f1 <= high for (low, high), f1 in zip(intervals, exact, strict=True)]
        low, high = macro_f1_interval(confusion)
        macro.append(low <= exact.mean() <= high)
    assert 0.93 < np.mean(single) < 0.98
    assert 0.90 < np.mean(macro) < 0.985
