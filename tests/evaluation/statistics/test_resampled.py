"""Intervals over folds, in simulated cross-validations whose classifiers learn from the tiles."""

import numpy as np
import pytest

from orbitune.evaluation.statistics.resampled import (
    corrected_resampled_interval,
    unpaired_resampled_interval,
)


def cross_validate(random, tiles, folds):
    """Accuracies of two equally good classifiers, (2, folds): the nearest mean of features of their own."""
    labels = np.arange(tiles) % 2
    features = random.normal((labels - 0.5)[:, None], 1, (2, tiles, 4))
    fold = random.permutation(tiles) % folds
    found = np.empty((2, folds))
    for place in np.ndindex(found.shape):
        values, test = features[place[0]], fold == place[1]
        low, high = (values[~test & (labels == label)].mean(0) for label in (0, 1))
        predicted = (values[test] - (low + high) / 2) @ (high - low) > 0
        found[place] = (predicted == labels[test]).mean()
    return found


def held(studies, tiles, folds):
    """The share of cross-validations whose intervals have the true difference, 0: paired and unpaired."""
    random, counts, ratio = np.random.default_rng(0), np.zeros(2), 1 / (folds - 1)
    for _ in range(studies):
        first, second = cross_validate(random, tiles, folds)
        ends = [
            corrected_resampled_interval(first - second, test_to_train=ratio),
            unpaired_resampled_interval(first, second, test_to_train=(ratio, ratio)),
        ]
        counts += [low <= 0 <= high for low, high in ends]
    return counts / studies


def test_intervals_over_folds_hold_the_true_difference():
    assert min(held(200, tiles=60, folds=5)) >= 0.95 - 2 * 0.0155


@pytest.mark.slow
@pytest.mark.parametrize(("tiles", "folds"), [(60, 3), (60, 5), (300, 5), (100, 10)])
def test_intervals_over_folds_hold_the_true_difference_in_many_studies(tiles, folds):
    assert min(held(2000, tiles, folds)) >= 0.94
