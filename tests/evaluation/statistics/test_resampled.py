"""Intervals over folds, in simulated cross-validations whose classifiers learn from the tiles."""

import numpy as np
import pytest

from orbitune.evaluation.statistics.resampled import (
    corrected_resampled_interval,
    unpaired_resampled_interval,
)


def cross_validate(random, tiles, folds):
    """Accuracies of two equally good classifiers, (2, folds), on features that are half shared."""
    labels = np.arange(tiles) % 2
    shared, own = random.normal(0, np.sqrt(0.5), (tiles, 4)), random.normal(0, np.sqrt(0.5), (2, tiles, 4))
    features = (labels - 0.5)[:, None] + shared + own
    fold = random.permutation(tiles) % folds
    found = np.empty((2, folds))
    for place in np.ndindex(found.shape):
        values, test = features[place[0]], fold == place[1]
        low, high = (values[~test & (labels == label)].mean(0) for label in (0, 1))
        predicted = (values[test] - (low + high) / 2) @ (high - low) > 0
        found[place] = (predicted == labels[test]).mean()
    return found


def simulate(studies, tiles, folds):
    """Share of intervals with the true difference, 0, and their mean width in needed ones, by name."""
    random, ratio = np.random.default_rng(0), 1 / (folds - 1)
    studied = [cross_validate(random, tiles, folds) for _ in range(studies)]
    needed = 2 * 1.96 * np.std([first.mean() - second.mean() for first, second in studied])
    found = {}
    for name, interval in {
        "paired": lambda one, other: corrected_resampled_interval(one - other, test_to_train=ratio),
        "uncorrected": lambda one, other: corrected_resampled_interval(one - other, test_to_train=0),
        "unpaired": lambda one, other: unpaired_resampled_interval(one, other, test_to_train=(ratio, ratio)),
    }.items():
        low, high = np.array([interval(*each) for each in studied]).T
        found[name] = np.mean((low <= 0) & (high >= 0)), np.mean(high - low) / needed
    return found


def test_intervals_over_folds_hold_the_true_difference_and_the_correction_makes_them_wider():
    found = simulate(200, tiles=100, folds=10)
    (paired, width), (plain, narrow) = found["paired"], found["uncorrected"]
    assert paired > plain and paired >= 0.96 and found["unpaired"][0] >= 0.96
    assert width / narrow == pytest.approx(np.sqrt(1 + 10 / 9)) and width < 2


@pytest.mark.slow
@pytest.mark.parametrize(("tiles", "folds"), [(60, 3), (60, 5), (300, 5), (100, 10)])
def test_intervals_over_folds_hold_the_true_difference_in_many_studies(tiles, folds):
    """They are conservative: with few folds two to three times as wide as needed."""
    found = simulate(2000, tiles, folds)
    assert found["paired"][0] >= 0.94 and found["unpaired"][0] >= 0.94
    assert found["paired"][0] > found["uncorrected"][0] + 0.01 and found["paired"][1] < 3.1
