"""What a page says of calibration: as much as its tiles can show."""

import numpy as np
import pytest

from orbitune.evaluation.details.score_details import ScoreDetails
from orbitune.evaluation.tasks.known import find_task
from orbitune.evaluation.tasks.task import Decision
from orbitune.reporting.drawing import report_style
from orbitune.reporting.views.choose import view_scores

CLASSES = ("Forest", "River", "Sea")


def view(count, sharpness=1.0, *, task="single-label"):
    """Scores on `count` tiles of a model whose logits are true to `sharpness` of their size."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (count, len(CLASSES)))
    if task == "single-label":
        odds = np.exp(sharpness * logits)
        labels = np.array([random.choice(len(CLASSES), p=row / row.sum()) for row in odds])
    else:
        labels = (random.random(logits.shape) < 1 / (1 + np.exp(-sharpness * logits))).astype(np.uint8)
    decision = Decision(thresholds=None if task == "single-label" else (0.5,) * len(CLASSES))
    details = ScoreDetails.measure(find_task(task), logits, labels=labels, classes=CLASSES, decision=decision)
    return view_scores(details, "test tiles", synthetic=False)


def calibration(shown):
    with report_style():
        return shown.calibration()


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_few_tiles_have_no_calibration_error_and_no_diagram(task):
    shown = view(60, task=task)
    assert (
        shown.calibration_sentence() == "60 tiles are too few to judge calibration, which needs 100 or more."
    )
    note, table = calibration(shown)
    assert note.lines == [shown.calibration_sentence()]
    assert [row[0] for row in table.rows] == ["Brier score", "Loss, nats"]


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_probabilities_are_called_right_as_far_as_the_tiles_show(task):
    sentence = view(500, task=task).calibration_sentence()
    assert sentence.startswith(
        "The probabilities are right as far as 500 tiles can show (expected calibration"
    )
    assert "chance alone gives up to" in sentence


def test_overconfidence_is_named_with_its_size():
    shown = view(2000, 0.3)
    check = shown.details.check_calibration()
    assert shown.calibration_sentence().startswith(
        f"The probabilities are too high: their mean is {100 * check.confidence:.1f} %, and "
        f"{100 * check.accuracy:.1f} % of the predictions are right (expected calibration error"
    )


@pytest.mark.parametrize(("task", "axis"), [("single-label", "accuracy, %"), ("multi-label", "frequency, %")])
def test_diagrams_show_bins_of_twenty_tiles_with_intervals(task, axis):
    figure, table = calibration(view(140, task=task))
    noise = "ECE if perfectly calibrated (95 %)"
    assert [row[0] for row in table.rows][:3] == ["ECE", noise, "ECE, equal-width bins"]
    for panel in figure.panels:
        assert axis in panel.svg and panel.svg.count('id="' + panel.name + "-LineCollection_") == 1
