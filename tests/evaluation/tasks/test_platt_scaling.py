"""Calibration of several labels a tile recovers scaled and shifted logits, also from few tiles."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from orbitune.evaluation.details.reliability_table import bin_probabilities, expected_calibration_error
from orbitune.evaluation.tasks.known import find_task
from orbitune.evaluation.tasks.label_set_scores import binary_cross_entropy
from orbitune.evaluation.tasks.platt_scaling import fit_sigmoids
from orbitune.evaluation.tasks.task import Decision

TASK = find_task("multi-label")
TRUE_OFFSETS = np.array([-3.0, -2.0, -1.0, 0.0])  # as weights of present labels shift logits


def outputs(count, seed=0):
    """Logits twice as large as they should be and shifted for each class, with the labels they tell of."""
    random = np.random.default_rng(seed)
    true = random.normal(-1, 1.5, (count, 4))
    labels = (random.random(true.shape) < expit(true)).astype(np.uint8)
    return 2 * (true - TRUE_OFFSETS), labels


def ece(logits, labels, decision):
    found = TASK.probabilities(logits, decision)
    return expected_calibration_error(bin_probabilities(found.ravel(), labels.ravel() > 0))


def test_temperature_and_offsets_are_recovered():
    temperature, offsets = fit_sigmoids(*outputs(20_000))
    assert temperature == pytest.approx(2, rel=0.05)
    assert offsets == pytest.approx(TRUE_OFFSETS, abs=0.1)


def test_shifted_logits_are_calibrated_on_other_tiles_which_a_temperature_alone_cannot():
    decision = TASK.fit_decision(*outputs(300))
    logits, labels = outputs(3000, seed=1)
    best = min(ece(logits, labels, Decision(scale)) for scale in np.geomspace(0.1, 100, 50))
    assert ece(logits, labels, decision) < 0.03 < 0.1 < best


def test_with_many_tiles_the_fit_is_that_of_a_logistic_regression_with_one_slope():
    logits, labels = outputs(5000)
    found = minimize(lambda v: binary_cross_entropy(v[0] * logits + v[1:], labels), [1.0, *[0.0] * 4]).x
    temperature, offsets = fit_sigmoids(logits, labels)
    assert (1 / temperature, *offsets) == pytest.approx(found, abs=0.02)


def test_a_class_without_tiles_keeps_an_offset_near_that_of_the_others():
    logits, labels = outputs(40)
    labels[:, 3] = 0
    offsets = np.array(fit_sigmoids(logits, labels)[1])
    assert offsets[:3].mean() - 4 < offsets[3] < offsets[:3].mean()


@pytest.mark.parametrize("count", [1, 5, 100])
def test_logits_that_tell_all_labels_apart_get_finite_probabilities(count):
    labels = outputs(count)[1]
    for logits in (np.where(labels, 4.0, 3.0), np.where(labels, 3.0, -3.0), np.zeros((count, 4))):
        decision = TASK.fit_decision(logits, labels)
        found = TASK.probabilities(logits, decision)
        assert 0 < found.min() <= found.max() < 1
        assert 0.01 <= decision.temperature <= 100 and np.isfinite(decision.offsets).all()


def test_the_ranking_within_a_class_and_so_the_average_precision_stay():
    logits, labels = outputs(50)
    order = TASK.probabilities(logits, TASK.fit_decision(logits, labels)).argsort(0)
    assert (order == logits.argsort(0)).all()


def test_thresholds_are_of_calibrated_probabilities():
    logits, labels = outputs(500)
    plain, shifted = (TASK.fit_decision(each, labels) for each in (logits, 3 * logits + 5))
    assert shifted.thresholds == pytest.approx(plain.thresholds, abs=0.02)
