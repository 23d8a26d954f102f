"""Scores of several labels a tile are those of scikit-learn on the same logits."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm
from sklearn import metrics

from orbitune.errors import RunError
from orbitune.evaluation.details.reliability_table import bin_probabilities
from orbitune.evaluation.statistics.intervals import wilson
from orbitune.evaluation.tasks.known import find_task
from orbitune.evaluation.tasks.label_set_scores import LabelSetScores
from orbitune.evaluation.tasks.resampling import (
    RESAMPLES,
    RankedLabels,
    bootstrap_scores,
    resample_scores,
)
from orbitune.evaluation.tasks.score_loss import label_set_losses
from orbitune.evaluation.tasks.task import Decision
from orbitune.evaluation.tasks.thresholds import best_thresholds

CLASSES = ("Forest", "River", "Pasture", "Mine", "Sea")
TASK = find_task("multi-label")


def outputs(count=300, seed=0, ties=True):
    """Logits that know something of the labels; no tile has the last class, and some logits are equal."""
    random = np.random.default_rng(seed)
    labels = (random.random((count, 5)) < [0.5, 0.3, 0.1, 0.05, 0]).astype(np.uint8)
    labels[0, 3] = 1
    logits = random.normal(2.5 * labels - 1.5, 1.5)
    return (np.round(logits, 1) if ties else logits).astype(np.float32), labels


def calibrated(logits, decision):
    return logits.astype(float) / decision.temperature + np.array(decision.offsets)


def scored(**more):
    logits, labels = outputs(**more)
    decision = TASK.fit_decision(logits, labels)
    return logits, labels, decision, TASK.score(logits, labels, classes=CLASSES, decision=decision)


@pytest.mark.parametrize("seed", range(5))
def test_all_scores_equal_those_of_scikit_learn(seed):
    logits, labels, decision, scores = scored(seed=seed)
    predicted = expit(calibrated(logits, decision))
    decided, half = predicted >= decision.thresholds, predicted >= 0.5
    present = [0, 1, 2, 3]  # without the class that no tile has
    expected = {
        "accuracy": metrics.accuracy_score(labels, decided),
        "mean_average_precision": metrics.average_precision_score(labels[:, present], logits[:, present]),
        "micro_average_precision": metrics.average_precision_score(labels, predicted, average="micro"),
        "macro_f1": metrics.f1_score(labels, decided, average="macro", labels=present, zero_division=0),
        "micro_f1": metrics.f1_score(labels, decided, average="micro"),
        "macro_f1_at_half": metrics.f1_score(labels, half, average="macro", labels=present, zero_division=0),
        "micro_f1_at_half": metrics.f1_score(labels, half, average="micro"),
        "loss": metrics.log_loss(labels.ravel(), predicted.ravel()),
    }
    assert {name: getattr(scores, name) for name in expected} == pytest.approx(expected, abs=1e-6)
    for number, each in enumerate(scores.per_class):
        wanted = metrics.precision_recall_fscore_support(
            labels[:, number], decided[:, number], average="binary", zero_division=0
        )
        assert (each.precision, each.recall, each.f1) == pytest.approx(wanted[:3], abs=1e-6)
        assert each.support == labels[:, number].sum()
        if number in present:
            ap = metrics.average_precision_score(labels[:, number], logits[:, number])
            assert each.average_precision == pytest.approx(ap, abs=1e-6)


def test_a_class_without_tiles_has_no_average_precision_and_a_threshold_of_one_half():
    _, _, decision, scores = scored()
    assert scores.per_class[4].average_precision is None and scores.per_class[4].support == 0
    assert decision.thresholds[4] == 0.5


def test_a_split_without_any_label_has_scores_of_zero():
    scores = TASK.score(
        np.full((4, 5), -1.0), np.zeros((4, 5), np.uint8), classes=CLASSES, decision=Decision(1.0, (0.5,) * 5)
    )
    assert (scores.mean_average_precision, scores.micro_f1, scores.macro_f1) == (0, 0, 0)
    assert scores.accuracy == 1


def test_no_other_threshold_has_a_higher_f1():
    logits, labels = outputs()
    predicted = expit(logits.astype(float))
    thresholds = best_thresholds(predicted, labels)
    for number in range(4):

        def f1(threshold, number=number):
            return metrics.f1_score(labels[:, number], predicted[:, number] >= threshold, zero_division=0)

        assert f1(thresholds[number]) >= max(map(f1, np.linspace(0, 1, 500))) - 1e-12
        assert np.abs(predicted[:, number] - thresholds[number]).min() > 1e-9  # rounding moves no tile


def test_the_calibration_error_is_that_of_all_labels_together():
    logits, labels, decision, scores = scored()
    predicted = expit(calibrated(logits, decision)).ravel()
    bins = bin_probabilities(predicted, labels.ravel() > 0)
    assert sum(each.count for each in bins) == labels.size
    expected = sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / labels.size
    calibration = TASK.score_calibration(calibrated(logits, decision), labels)
    assert scores.ece == pytest.approx(expected) == pytest.approx(calibration.ece)
    assert calibration.brier == pytest.approx(metrics.brier_score_loss(labels.ravel(), predicted))


def drawn_labels(count, classes, *, dependence=0.0, shift=0.0, random):
    """Logits that are too high by `shift`, and labels that tend to be on the same tiles."""
    logits = random.normal(-2, 1.8, (count, classes))
    shared, own = random.normal(size=(count, 1)), random.normal(size=(count, classes))
    chance = norm.cdf(np.sqrt(dependence) * shared + np.sqrt(1 - dependence) * own)
    return logits + shift, (chance < expit(logits)).astype(np.uint8)


def test_the_range_of_calibrated_labels_is_that_of_their_errors():
    random = np.random.default_rng(0)
    found = [TASK.score_calibration(*drawn_labels(500, 19, random=random)) for _ in range(80)]
    errors = np.quantile([each.ece for each in found], [0.025, 0.975])
    assert np.mean([each.ece_if_calibrated for each in found], 0) == pytest.approx(errors, rel=0.15)
    assert np.mean([each.ece > each.ece_if_calibrated[1] for each in found]) <= 0.07


def test_logits_that_are_too_high_lie_beyond_the_range_of_calibrated_labels():
    found = TASK.score_calibration(*drawn_labels(1000, 19, shift=0.35, random=np.random.default_rng(0)))
    assert found.ece == pytest.approx(0.04, abs=0.01) and found.ece > 2 * found.ece_if_calibrated[1]


def test_labels_that_come_together_are_fewer_predictions_and_so_are_copies_of_a_label():
    random = np.random.default_rng(0)
    found = [TASK.score_calibration(*drawn_labels(300, 19, dependence=0.7, random=random)) for _ in range(60)]
    assert all(0.5 < each.predictions / (300 * 19) < 0.8 for each in found)
    assert np.mean([each.ece > each.ece_if_calibrated[1] for each in found]) <= 0.15
    logits, labels = drawn_labels(300, 1, random=random)
    copied = TASK.score_calibration(logits.repeat(5, 1), labels.repeat(5, 1))
    assert copied.predictions == pytest.approx(300, rel=0.02)


@pytest.mark.parametrize("ties", [False, True])
def test_the_average_precision_of_weighted_tiles_is_that_of_scikit_learn(ties):
    logits, labels = outputs(60, ties=ties)
    weights = np.random.default_rng(1).integers(0, 4, (60, 20)).astype(float)
    tiles = np.arange(60)
    for c in range(2):
        ranked = RankedLabels(logits[:, c], labels[:, c] > 0, tiles=tiles)
        expected = [
            metrics.average_precision_score(labels[:, c], logits[:, c], sample_weight=each)
            for each in weights.T
        ]
        np.testing.assert_allclose(ranked.average_precision(weights), expected, atol=1e-12)
    joint = RankedLabels(logits.ravel(), labels.ravel() > 0, tiles=tiles.repeat(labels.shape[1]))
    expected = [
        metrics.average_precision_score(
            labels.ravel(), logits.ravel(), sample_weight=each.repeat(labels.shape[1])
        )
        for each in weights.T
    ]
    np.testing.assert_allclose(joint.average_precision(weights), expected, atol=1e-12)


def test_a_class_of_which_no_tile_was_drawn_has_no_average_precision():
    logits = outputs(60)[0][:, 1]
    weights = np.ones((60, 1))
    weights[0] = 0
    for labels in (np.arange(60) == 0, np.zeros(60, bool)):
        ranked = RankedLabels(logits, labels, tiles=np.arange(60))
        assert np.isnan(ranked.average_precision(weights)).all()


def test_resampled_f1_is_that_of_scikit_learn_with_the_draws_as_weights():
    logits, labels = outputs(60)
    decided = logits > 0.2
    found = resample_scores(logits, labels, decisions={"": decided}, together=False)
    random = np.random.default_rng(0)
    for place in range(3):
        rows = random.integers(60, size=60)
        expected = metrics.f1_score(labels[rows], decided[rows], average="micro", zero_division=0)
        assert found["micro_f1"][place] == pytest.approx(expected, abs=1e-12)


def test_intervals_hold_the_scores_and_narrow_with_more_tiles():
    _, _, _, few = scored(count=100)
    _, _, _, many = scored(count=1000)
    for name, (low, high) in few.intervals.items():
        assert low <= getattr(few, name) <= high
        assert many.intervals[name][1] - many.intervals[name][0] < high - low
    assert few.intervals == scored(count=100)[3].intervals


def test_where_all_labels_are_right_the_scores_leave_a_doubt_as_an_accuracy_does():
    """Resampling finds no error where there is none."""
    labels = outputs(60)[1]
    found = bootstrap_scores(8.0 * labels - 4, labels, decisions={"": labels > 0})
    assert {*found.values()} == {(wilson(60, 60)[0], 1.0)}


def test_an_interval_of_one_class_agrees_with_resampling_by_hand():
    logits, labels = outputs(80, ties=False)
    logits, labels = logits[:, :1], labels[:, :1]
    low, high = bootstrap_scores(logits, labels, decisions={})["mean_average_precision"]
    random, found = np.random.default_rng(7), []
    for _ in range(RESAMPLES):
        rows = random.integers(80, size=80)
        found.append(metrics.average_precision_score(labels[rows, 0], logits[rows, 0]))
    assert (low, high) == pytest.approx(np.quantile(found, (0.025, 0.975)), abs=0.02)


def test_the_record_is_read_back_as_it_was():
    scores = scored()[3]
    assert LabelSetScores.model_validate(scores.to_json()) == scores
    assert scores.summary().mean_average_precision == scores.mean_average_precision


def test_outputs_that_cannot_be_scored_are_refused():
    with pytest.raises(RunError, match="not finite"):
        TASK.score(np.full((2, 5), np.nan), np.zeros((2, 5), np.uint8), classes=CLASSES, decision=Decision())
    with pytest.raises(RunError, match="no tiles"):
        TASK.fit_decision(np.zeros((0, 5)), np.zeros((0, 5), np.uint8))


def test_lost_scores_are_paired_so_that_their_intervals_are_narrower_than_those_of_the_scores():
    random = np.random.default_rng(0)
    labels = (random.random((1000, 4)) < 0.4).astype(np.uint8)
    reference = expit(random.normal(size=labels.shape) + 2.5 * labels - 1)
    found = np.clip(reference + random.normal(size=labels.shape) * 0.02, 0, 1)
    mean, micro = label_set_losses(found, reference, labels=labels, thresholds=np.full(4, 0.4))
    expected = metrics.average_precision_score(labels, reference) - metrics.average_precision_score(
        labels, found
    )
    assert mean.points_lost == pytest.approx(100 * expected)
    expected = metrics.f1_score(labels, reference >= 0.4, average="micro") - metrics.f1_score(
        labels, found >= 0.4, average="micro"
    )
    assert micro.points_lost == pytest.approx(100 * expected)
    low, high = bootstrap_scores(reference, labels, decisions={})["mean_average_precision"]
    assert mean.high - mean.low < 100 * (high - low) / 1.5
    for lost in (mean, micro):
        assert lost.low < lost.points_lost < lost.high


def lost_labels(count, labels):
    """Losses of a model without the first `count` labels, of whatever tiles."""
    reference = np.where(labels, 0.9, 0.1)
    found = reference.copy()
    found.ravel()[np.flatnonzero(labels)[:count]] = 0.05
    return label_set_losses(found, reference, labels=labels, thresholds=np.full(labels.shape[1], 0.5))


def test_more_errors_never_have_a_smaller_upper_end():
    """Nor has a single error a smaller one than none."""
    labels = (np.random.default_rng(0).random((200, 4)) < 0.4).astype(np.uint8)
    ends = [[each.high for each in lost_labels(count, labels)] for count in (0, 1, 2, 4, 8, 32, 128)]
    assert np.diff(ends, axis=0).min() > 0
    assert ends[0] == pytest.approx([100 * 3.8415 / 203.8415] * 2, rel=1e-3)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_tiles_that_is_needed_is_enough(count):
    labels = (np.random.default_rng(0).random((200, 4)) < 0.4).astype(np.uint8)
    loss = lost_labels(count, labels)[1]
    needed = loss.tiles_needed(1.0, tiles=200)
    again = lost_labels(round(count * needed / 200), np.tile(labels, (needed // 200 + 1, 1))[:needed])[1]
    assert loss.high > 1 >= again.high - 0.05 and needed < 1000
