"""Intervals of the scores of single classes, and of macro-F1."""

import numpy as np
import pytest

from orbitune.evaluation.details.class_intervals import class_intervals
from orbitune.evaluation.statistics import macro_f1
from orbitune.evaluation.statistics.intervals import wilson
from orbitune.evaluation.statistics.macro_f1 import macro_f1_interval, macro_f1_over_seeds

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


def test_where_every_tile_is_right_macro_f1_leaves_a_doubt_that_falls_with_the_tiles():
    """Resampling finds no error where there is none; without added tiles the interval was 100 % alone."""
    for tiles in (10, 100):
        low, high = macro_f1_interval(tiles * np.eye(4, dtype=int))
        assert (low, high) == pytest.approx(wilson(4 * tiles, 4 * tiles), abs=0.7 / tiles)
    labels = np.repeat(np.arange(4), 10)
    low, high = macro_f1_over_seeds(np.stack([labels] * 3), labels, classes=4)
    assert 0.8 < low < 0.95 and high == 1


def test_a_class_alone_has_the_doubt_too_unless_there_is_no_other():
    assert macro_f1_interval(np.array([[20, 0], [0, 0]]))[0] < 0.97
    assert macro_f1_interval(np.array([[20]])) == (1, 1)


def held_near_one(studies: int, seeds: int, *, classes: int, tiles: int, recall: float) -> float:
    """The share of simulated studies whose interval has the truth: classes are mistaken for the next one."""
    random, held = np.random.default_rng(0), 0
    labels = np.repeat(np.arange(classes), tiles)
    for _ in range(studies):
        easy = random.beta(0.3 * recall, 0.3 * (1 - recall), len(labels))
        right = random.random((seeds, len(labels))) < easy
        low, high = macro_f1_over_seeds(
            np.where(right, labels, (labels + 1) % classes), labels, classes=classes
        )
        held += low <= recall <= high  # as many tiles are missed as are taken for each class
    return held / studies


@pytest.mark.parametrize(("seeds", "classes", "tiles", "recall"), [(1, 10, 10, 0.99), (3, 4, 50, 0.995)])
def test_near_100_percent_the_interval_of_macro_f1_holds_the_truth(
    monkeypatch, seeds, classes, tiles, recall
):
    """Plain resampling held it in 58 and 73 of 100 studies."""
    monkeypatch.setattr(macro_f1, "RESAMPLES", 400)
    assert held_near_one(120, seeds, classes=classes, tiles=tiles, recall=recall) >= 0.95 - 2 * 0.02


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
@pytest.mark.parametrize(
    ("classes", "tiles", "recall"), [(10, 10, 0.99), (3, 10, 0.98), (30, 66, 0.93), (10, 30, 0.97)]
)
def test_near_100_percent_the_interval_of_macro_f1_holds_the_truth_in_many_studies(
    monkeypatch, seeds, classes, tiles, recall
):
    monkeypatch.setattr(macro_f1, "RESAMPLES", 500)
    assert held_near_one(500, seeds, classes=classes, tiles=tiles, recall=recall) >= 0.91
