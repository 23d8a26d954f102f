"""Differences between two sets of tiles at one mix of classes."""

import numpy as np
import pytest

from orbitune.evaluation.statistics import intervals
from orbitune.evaluation.statistics.intervals import bootstrap_unpaired_difference
from orbitune.evaluation.statistics.standardised import (
    ClassCorrect,
    class_mixes,
    confusion_gaps,
    standardised_gaps,
)

RECALLS = np.array([0.99, 0.70])  # an easy class and a hard one


def drawn(random, counts, *, recalls=RECALLS, seeds=3, spread=0.0) -> ClassCorrect:
    """Predictions on some tiles of each class, whose seeds share easy tiles and differ by `spread`."""
    labels = np.repeat(np.arange(len(counts)), counts)
    easy = random.beta(recalls[labels] * 0.5, (1 - recalls[labels]) * 0.5)
    lost = random.random((seeds, len(labels))) < np.abs(random.normal(0, spread, (seeds, 1)))
    return ClassCorrect((random.random((seeds, len(labels))) < easy) & ~lost, labels)


def test_a_split_of_other_classes_alone_is_no_loss_at_one_mix():
    """Both sets are equally hard class by class, but the second has more of the easy one."""
    random = np.random.default_rng(1)
    first, second = drawn(random, (1000, 1000)), drawn(random, (1800, 200))
    raw = first.correct.mean() - second.correct.mean()
    assert raw < -0.10
    counts = np.array([1000, 1000]), np.array([1800, 200])
    [(difference, (low, high)), _] = standardised_gaps(
        first, second, mixes=class_mixes(*counts, mix_of_second=False)
    )
    assert abs(difference) < 0.06 and low < 0 < high


def test_the_difference_is_that_of_the_recalls_weighted_by_the_mix():
    first = ClassCorrect(np.array([[True, True, False, True]]), np.array([0, 0, 0, 1]))
    second = ClassCorrect(np.array([[True, False, True, False]]), np.array([0, 0, 1, 1]))
    mixes = class_mixes(np.array([3, 1]), np.array([2, 2]), mix_of_second=False)
    standardised, balanced = (difference for difference, _ in standardised_gaps(first, second, mixes=mixes))
    assert standardised == pytest.approx(3 / 4 * (2 / 3 - 1 / 2) + 1 / 4 * (1 - 1 / 2))
    assert balanced == pytest.approx((2 / 3 - 1 / 2 + 1 - 1 / 2) / 2)
    confusions = np.array([[[2, 1], [0, 1]]]), np.array([[[1, 1], [1, 1]]])
    assert confusion_gaps(*confusions, mixes=mixes) == pytest.approx([standardised, balanced])


def test_a_class_that_one_set_lacks_is_left_out():
    first = ClassCorrect(np.ones((2, 4), bool), np.array([0, 0, 1, 1]))
    second = ClassCorrect(np.zeros((2, 2), bool), np.array([0, 0]))
    mixes = class_mixes(np.array([2, 2]), np.array([2, 0]), mix_of_second=False)
    assert [difference for difference, _ in standardised_gaps(first, second, mixes=mixes)] == [1, 1]


def test_with_equal_mixes_the_interval_is_about_that_of_the_accuracies():
    random = np.random.default_rng(0)
    first, second = (drawn(random, (500, 500), spread=0.005) for _ in range(2))
    [(_, interval), _] = standardised_gaps(
        first, second, mixes=class_mixes(*[np.array([500, 500])] * 2, mix_of_second=False)
    )
    alone = bootstrap_unpaired_difference(first.correct, second.correct)
    assert np.ptp(interval) == pytest.approx(np.ptp(alone), rel=0.15)


@pytest.mark.parametrize("studies", [120, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (5, 0.004)])
def test_the_interval_holds_the_truth_in_95_of_100_studies(monkeypatch, seeds, spread, studies):
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    random, mixes = np.random.default_rng(0), [np.array([0.5, 0.5])]
    held = 0
    for _ in range(studies):
        first = drawn(random, (300, 300), seeds=seeds, spread=spread)
        second = drawn(random, (540, 60), seeds=seeds, spread=spread)
        [(_, (low, high))] = standardised_gaps(first, second, mixes=mixes)
        held += low <= 0 <= high
    assert held / studies >= 0.95 - 2 * (0.95 * 0.05 / studies) ** 0.5  # less two standard errors


@pytest.mark.parametrize(
    ("studies", "least"), [(100, 0.91), pytest.param(1000, 0.936, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("few", [4, 12])
def test_the_interval_holds_the_truth_with_a_class_of_few_tiles_that_may_all_be_right(
    monkeypatch, few, studies, least
):
    """Nine classes of 500 tiles and a recall of 99 %, one of `few` and 90 %, with equal weights."""
    monkeypatch.setattr(intervals, "RESAMPLES", 500)
    random, recalls = np.random.default_rng(0), np.array([0.9] + [0.99] * 9)
    held = 0
    for _ in range(studies):
        sets = [drawn(random, counts, recalls=recalls, seeds=1) for counts in ([500] * 10, [few] + [500] * 9)]
        [(_, (low, high))] = standardised_gaps(*sets, mixes=[np.ones(10)])
        held += low <= 0 <= high
    assert held >= least * studies  # 95 %, less two standard errors


@pytest.mark.parametrize(("studies", "least"), [(60, 0.9), pytest.param(600, 0.932, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("classes", "few"), [(30, 5), (10, 10)])
def test_the_interval_holds_the_truth_where_each_class_of_one_set_has_few_tiles(
    monkeypatch, classes, few, studies, least
):
    """With a right and a wrong tile more in each class all of them pulled to one side: none held it."""
    monkeypatch.setattr(intervals, "RESAMPLES", 300)
    random, held = np.random.default_rng(0), 0
    for _ in range(studies):
        sets = [
            drawn(random, [count] * classes, recalls=np.full(classes, 0.95), seeds=1) for count in (few, 100)
        ]
        [(difference, (low, high))] = standardised_gaps(*sets, mixes=[np.ones(classes)])
        assert low < difference < high
        held += low <= 0 <= high
    assert held >= least * studies  # 95 %, less two standard errors
