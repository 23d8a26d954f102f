"""Scores equal the textbook's, are plain JSON, and reject invalid outputs."""

import json

import numpy as np
import pytest

from orbitune.errors import RunError
from orbitune.evaluation.metrics import SplitScores, score

CLASSES = ["Forest", "River", "Pasture"]


def logits_for(predicted: list[int], classes: int = 3) -> np.ndarray:
    return 4 * np.eye(classes, dtype=np.float32)[predicted]


def test_a_small_case_agrees_with_counting_by_hand():
    scores = score(logits_for([0, 0, 1, 2]), np.array([0, 1, 1, 2]), classes=CLASSES)
    assert scores.count == 4
    assert scores.accuracy == 0.75
    assert scores.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))  # rows are the truth
    assert scores.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    forest = scores.per_class[0]
    assert forest.to_json() == pytest.approx(
        {"name": "Forest", "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1}
    )


def test_the_interval_is_wilsons():
    scores = score(logits_for([0] * 10), np.array([0] * 8 + [1, 2]), classes=CLASSES)
    z, p, n = 1.959964, 0.8, 10
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert scores.interval == pytest.approx([middle - half, middle + half], abs=1e-6)


def test_a_perfect_score_still_has_an_interval_below_one():
    low, high = score(logits_for([0, 1, 2]), np.array([0, 1, 2]), classes=CLASSES).interval
    assert low < 0.6 and high == pytest.approx(1)


def test_the_loss_is_the_mean_cross_entropy_in_nats():
    assert score(np.zeros((5, 3)), np.zeros(5, dtype=np.int64), classes=CLASSES).loss == pytest.approx(
        np.log(3)
    )


def test_the_loss_is_exact_for_half_precision_and_huge_logits():
    logits = np.array([[60000, 0, 0], [0, 60000, 0]], dtype=np.float16)
    assert score(logits, np.array([0, 1]), classes=CLASSES).loss == 0


def test_a_class_absent_from_the_split_keeps_its_row_and_stays_out_of_macro_f1():
    scores = score(logits_for([0, 1]), np.array([0, 1]), classes=CLASSES)
    assert scores.per_class[2].support == 0
    assert len(scores.confusion) == 3
    assert scores.macro_f1 == 1


def test_the_scores_are_plain_json():
    scores = score(logits_for([0, 1, 2]), np.array([0, 1, 1]), classes=np.array(CLASSES))
    assert SplitScores.model_validate(json.loads(json.dumps(scores.to_json(), allow_nan=False))) == scores


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_an_error(bad):
    logits = logits_for([0, 1])
    logits[1, 2] = bad
    with pytest.raises(RunError, match="not finite"):
        score(logits, np.array([0, 1]), classes=CLASSES)


def test_an_empty_split_is_an_error():
    with pytest.raises(RunError, match="no tiles"):
        score(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), classes=CLASSES)
