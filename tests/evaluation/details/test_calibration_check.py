"""A calibration error beside what chance gives, and bins with enough tiles to be drawn."""

import numpy as np
import pytest

from orbitune.evaluation.calibration import score_calibration
from orbitune.evaluation.details.calibration_check import check_calibration, merge_bins
from orbitune.evaluation.details.reliability_table import ReliabilityBin
from orbitune.evaluation.statistics.intervals import wilson


def drawn(count, sharpness=1.0, seed=3):
    """Calibration of `count` tiles of a model whose logits are true to `sharpness` of their size."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, 5))
    odds = np.exp(sharpness * logits)
    labels = np.array([random.choice(5, p=row / row.sum()) for row in odds])
    return score_calibration(logits, labels)


@pytest.mark.parametrize("count", [150, 3000])
def test_chance_explains_the_error_of_a_calibrated_model(count):
    check = check_calibration(drawn(count), count)
    assert check.enough and check.agrees


def test_chance_does_not_explain_the_error_of_an_overconfident_model():
    check = check_calibration(drawn(3000, sharpness=0.3), 3000)
    assert not check.agrees and check.confidence > check.accuracy + 0.2


def test_a_few_tiles_show_nothing():
    assert not check_calibration(drawn(99), 99).enough


def test_chance_is_that_of_the_predictions_not_of_the_tiles():
    """Labels of the same tile are predictions of their own; an earlier version did not count them."""
    calibration = drawn(1500)
    assert check_calibration(calibration, 500).by_chance == calibration.ece_if_calibrated[1]
    earlier = calibration.model_copy(update={"predictions": None})
    assert check_calibration(earlier, 500).by_chance > 1.5 * calibration.ece_if_calibrated[1]


def test_bins_are_joined_until_each_has_twenty_tiles():
    table = drawn(150).reliability
    merged = merge_bins(table, 150)
    assert len(table) == 15 and len(merged) == 7
    assert [each.tiles for each in merged] == [20] * 6 + [30]
    hits = sum(each.count * each.accuracy for each in table)
    assert sum(each.tiles * each.accuracy for each in merged) == pytest.approx(hits)
    for each in merged:
        assert [each.low, each.high] == wilson(round(each.accuracy * each.tiles), round(each.tiles))


def test_confident_bins_are_joined_until_errors_can_be_expected():
    table = [
        ReliabilityBin(low=c, high=c, confidence=c, accuracy=1.0, count=100) for c in (0.5, 0.9, 0.99, 0.999)
    ]
    assert [each.tiles for each in merge_bins(table, 400)] == [100] * 4
    assert [each.tiles for each in merge_bins(table, 400, expected=5)] == [100, 300]


def test_one_bin_remains_where_there_are_too_few_tiles():
    table = drawn(14).reliability
    assert len(merge_bins(table, 14)) == 1
