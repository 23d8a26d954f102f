"""What a page says of calibration: as much as its tiles can show."""

import pytest
from score_views import view

from orbitune.reporting.drawing import report_style


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
