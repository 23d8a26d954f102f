"""Smoothed maps: half of a cell's probabilities are the mean over it and its neighbours."""

import numpy as np
import pytest

from orbitune.inference.patch_head import Confidence
from orbitune.mapping.grid import NOT_SURE
from orbitune.mapping.smoothing import SmoothedParts, Smoothing, probability_planes, smoothed_codes

AS_IT_IS = Confidence(temperature=1.0, offset=0.0)
PLAIN = Smoothing(limit=0.0, confidence=AS_IT_IS)


def planes_of(first):
    """Planes of two classes, of which the first has these probabilities."""
    first = np.asarray(first, float)
    where = np.argwhere(np.isfinite(first))
    predicted = np.stack([first, 1 - first, 0 * first], -1)[tuple(where.T)]
    return probability_planes(predicted, where, shape=first.shape)


def test_neighbours_outvote_a_cell_in_doubt_but_not_a_certain_one():
    first = np.full((3, 3), 0.9)
    first[1, 1] = 0.3
    codes, confidence = smoothed_codes(planes_of(first), PLAIN)
    assert codes[1, 1] == 1 and confidence[1, 1] == 57  # half of 0.3, half of the mean 0.833
    first[1, 1] = 0.05
    assert smoothed_codes(planes_of(first), PLAIN)[0][1, 1] == 2


def test_cells_without_a_prediction_have_no_weight_and_get_no_class():
    first = np.full((3, 3), np.nan)
    first[1, 1:] = 0.2, 0.7
    codes, confidence = smoothed_codes(planes_of(first), PLAIN)
    assert codes.tolist() == [[0, 0, 0], [0, 2, 1], [0, 0, 0]]
    assert confidence[1].tolist() == [0, 68, 57]


def test_cells_out_of_distribution_have_no_weight_either():
    predicted = np.array([[0.9, 0.1, 0], [0.2, 0.2, 0.6], [0.4, 0.6, 0]])
    planes = probability_planes(predicted, np.array([[0, 0], [0, 1], [0, 2]]), shape=(1, 3))
    assert smoothed_codes(planes, PLAIN)[0].tolist() == [[1, 0, 2]]


def test_cells_below_the_limit_are_not_sure():
    codes, confidence = smoothed_codes(planes_of([[0.9, 0.6]]), Smoothing(0.8, AS_IT_IS))
    assert codes.tolist() == [[1, NOT_SURE]] and confidence[0, 1] == 0


def test_the_calibration_changes_the_confidence_alone():
    planes = planes_of([[0.9, 0.7, 0.4]])
    plain, sharp = (smoothed_codes(planes, Smoothing(0.65, each)) for each in (AS_IT_IS, Confidence(0.5, 1)))
    assert sharp[0].tolist() == plain[0].tolist() == [[1, 1, NOT_SURE]]
    odds = (plain[1, 0, :2] / (100.0 - plain[1, 0, :2])) ** 2 * np.e
    assert np.allclose(sharp[1, 0], [*(100 * odds / (1 + odds)), 0], atol=1)


@pytest.mark.parametrize("rows", [1, 2, 4, 11])
def test_parts_are_smoothed_as_the_whole_map_is(rows, tmp_path):
    random = np.random.default_rng(0)
    first = random.random((11, 5))
    first[random.random(first.shape) < 0.1] = np.nan
    labels = random.integers(250, 255, (3, 11, 5)).astype(np.uint8)
    whole = np.concatenate([labels, planes_of(first)])
    count, smoothing = -(-11 // rows), Smoothing(0.55, Confidence(0.5, 1.0))
    store = SmoothedParts(tmp_path, count=count, smoothing=smoothing)
    for number in range(count):
        store.write(number, whole[:, number * rows : (number + 1) * rows])
    found = np.concatenate([store.read(number) for number in range(count)], 1)
    known = np.isfinite(first)
    assert np.array_equal(found[:2, known], smoothed_codes(planes_of(first), smoothing)[:, known])
    assert np.array_equal(found[:, ~known], labels[:, ~known]) and np.array_equal(found[2], labels[2])
