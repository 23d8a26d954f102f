"""Calibration recovers known temperatures and known errors, also in edge cases."""

import json

import numpy as np
import pytest

from orbitune.errors import RunError
from orbitune.evaluation.calibration import (
    brier_score,
    fit_temperature,
    probabilities,
    reliability_table,
    score_calibration,
)
from orbitune.evaluation.details.reliability_table import ece_of_calibrated, expected_calibration_error


def calibrated(count: int = 20_000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the true probability of each class, and labels."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2.5, (count, classes))
    chances = probabilities(logits).cumsum(axis=1)
    return logits, (random.random((count, 1)) > chances).sum(axis=1)


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_logits_scaled_by_a_factor_give_back_that_factor(factor):
    logits, labels = calibrated()
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.03)


def test_scaling_reduces_loss_and_calibration_error_and_keeps_the_classes():
    logits, labels = calibrated()
    before, after = score_calibration(3 * logits, labels), score_calibration(logits, labels)
    assert before.ece > 0.1 > 0.02 > after.ece
    assert before.ece_equal_width > 0.1 > 0.02 > after.ece_equal_width
    assert after.loss < before.loss and after.brier < before.brier
    assert (probabilities(logits, 3.0).argmax(axis=1) == logits.argmax(axis=1)).all()


def confident(count: int, random: np.random.Generator, points: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model that is nearly always sure, and labels; overconfident by so many points."""
    wrong = random.beta(0.15, 3, size=count) / 2
    confidence = np.clip(1 - wrong, 0.5, 1 - 1e-9)
    chance = 1 - wrong - points / 100 * wrong / wrong.mean()
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    right = random.random(count) < chance
    return logits, np.where(right, logits.argmax(1), 1 - logits.argmax(1))


def outside(count: int, points: float, draws: int) -> float:
    """Return how many models have an ECE above the range of perfectly calibrated ones."""
    random = np.random.default_rng(0)
    found = [score_calibration(*confident(count, random, points)) for _ in range(draws)]
    return float(np.mean([each.ece > each.ece_if_calibrated[1] for each in found]))


def test_the_error_of_a_perfectly_calibrated_model_is_noise_and_lies_in_the_range_that_is_stated():
    """With 5,400 tiles it is about half a point, which alone reads as miscalibration."""
    found = score_calibration(*confident(5400, np.random.default_rng(1)))
    low, high = found.ece_if_calibrated
    assert 0.003 < found.ece < 0.008 and low < found.ece < high < 0.01


def test_a_miscalibration_of_two_points_lies_beyond_that_range():
    found = score_calibration(*confident(5400, np.random.default_rng(1), points=2))
    assert found.ece == pytest.approx(0.02, abs=0.005) and found.ece > 1.5 * found.ece_if_calibrated[1]


@pytest.mark.parametrize("count", [200, 5400])
def test_few_perfectly_calibrated_models_lie_beyond_their_range_and_most_others_do(count):
    assert outside(count, 0, draws=100) <= 0.07  # 2.5 %, and two standard errors
    assert outside(count, 3 if count > 1000 else 10, draws=30) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, 600, 5400])
def test_the_range_holds_what_it_says(count):
    assert outside(count, 0, draws=2000) <= 0.035


def test_the_range_is_that_of_counting_each_tile():
    table = reliability_table(probabilities(confident(600, np.random.default_rng(0))[0]), np.zeros(600, int))
    random, errors = np.random.default_rng(1), []
    for _ in range(2000):
        errors.append(
            sum(abs((random.random(b.count) < b.confidence).mean() - b.confidence) * b.count for b in table)
        )
    assert ece_of_calibrated(table, 600) == pytest.approx(np.quantile(errors, [0.025, 0.975]) / 600, rel=0.1)


def test_outputs_of_several_seeds_are_worth_their_tiles_if_all_seeds_agree():
    random = np.random.default_rng(0)
    logits, labels = confident(600, random)
    thrice = np.concatenate([logits] * 3), np.concatenate([labels] * 3)
    same = score_calibration(*thrice, tiles=np.tile(np.arange(600), 3))
    alone = score_calibration(logits, labels)
    assert alone.predictions == 600 and same.predictions == pytest.approx(600, rel=0.02)
    assert same.ece_if_calibrated == pytest.approx(alone.ece_if_calibrated, rel=0.1)


@pytest.mark.parametrize("binning", ["equal-mass", "equal-width"])
def test_a_small_table_agrees_with_counting_by_hand(binning):
    confidence = np.array([0.95, 0.6, 0.9, 0.65])
    predicted = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0, 1, 0, 0])  # the second is wrong
    table = reliability_table(predicted, labels, binning=binning, bins=2 if binning == "equal-mass" else 4)
    assert [row.count for row in table] == [2, 2]
    assert [row.accuracy for row in table] == [0.5, 1.0]
    assert [row.confidence for row in table] == pytest.approx([0.625, 0.925])
    assert expected_calibration_error(table) == pytest.approx((0.125 + 0.075) / 2)
    edges = [edge for row in table for edge in (row.low, row.high)]
    assert edges == pytest.approx([0.6, 0.65, 0.9, 0.95] if binning == "equal-mass" else [0.5, 0.75, 0.75, 1])


def test_bins_of_equal_mass_show_what_equal_widths_hide_near_one():
    # 900 tiles that are sure and always right, 100 less sure and right in half of the cases, in one wide bin.
    confidence = np.repeat([0.999, 0.94], [900, 100])
    predicted = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.repeat([0, 0, 1], [900, 50, 50])
    apart = expected_calibration_error(reliability_table(predicted, labels, binning="equal-mass", bins=10))
    together = expected_calibration_error(
        reliability_table(predicted, labels, binning="equal-width", bins=10)
    )
    assert apart == pytest.approx(0.9 * 0.001 + 0.1 * 0.44)
    assert together == pytest.approx(abs(0.9 * 0.999 + 0.1 * 0.94 - 0.95))


def test_the_brier_score_runs_from_zero_to_two():
    sure = np.eye(3)
    assert brier_score(sure, np.array([0, 1, 2])) == 0
    assert brier_score(sure, np.array([1, 2, 0])) == 2
    assert brier_score(np.full((4, 4), 0.25), np.arange(4)) == pytest.approx(0.75)


def test_where_every_tile_is_right_the_temperature_stays_one():
    assert fit_temperature(4 * np.eye(3), np.arange(3)) == 1
    assert fit_temperature(np.zeros((5, 1)), np.zeros(5, dtype=np.int64)) == 1  # a single class


@pytest.mark.parametrize(("wrong", "sharper"), [(1, False), (9, False), (10, True)])
def test_with_few_wrong_tiles_the_probabilities_do_not_become_surer(wrong, sharper):
    """One error in 32 tiles gave 0.33, and the loss on other tiles rose from 0.34 to 0.88."""
    labels = np.arange(100) % 2
    logits = 0.2 * np.eye(2)[np.where(np.arange(100) < wrong, 1 - labels, labels)]
    assert fit_temperature(logits, labels) == pytest.approx(1, rel=1e-4) or sharper
    assert (fit_temperature(logits, labels) < 0.5) == sharper


def test_where_the_logits_know_nothing_the_temperature_stops_at_a_hundred():
    assert fit_temperature(100 * np.eye(3), np.array([1, 2, 0])) == pytest.approx(100, rel=1e-3)


def test_huge_logits_of_half_precision_are_scored_without_overflow():
    logits = np.array([[60000, 0, 0], [0, 60000, 0], [0, 0, 60000]], dtype=np.float16)
    result = score_calibration(logits / np.float64(0.01), np.array([0, 1, 1]))
    assert result.ece == pytest.approx(1 / 3)
    assert np.isfinite(result.loss)
    assert 0.01 <= fit_temperature(logits, np.array([0, 1, 1])) <= 100.001


def test_fewer_tiles_than_bins_give_fewer_bins():
    assert len(reliability_table(np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([0, 1]))) == 2


def test_the_result_is_plain_json():
    result = score_calibration(*calibrated(count=200))
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == result.to_json()


def test_logits_that_are_not_finite_are_an_error():
    with pytest.raises(RunError, match="not finite"):
        fit_temperature(np.array([[np.inf, 0.0]]), np.array([0]))
    with pytest.raises(RunError, match="no tiles"):
        score_calibration(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
