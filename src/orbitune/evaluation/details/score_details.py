"""Scores of a model on some tiles, with what a report says beyond them."""

from collections.abc import Sequence

import numpy as np

from orbitune.evaluation.calibration import Calibration
from orbitune.evaluation.details.calibration_check import CalibrationCheck, check_calibration
from orbitune.evaluation.details.class_intervals import ClassIntervals, Interval
from orbitune.evaluation.tasks.label_set_scores import AnySplitScores
from orbitune.evaluation.tasks.task import Decision, Task, describe_calibration
from orbitune.records import JsonTuple, Record


class ScoreDetails(Record):
    """Scores with the intervals of the classes and the calibration.

    Attributes:
        scores: accuracy, macro-F1 over the classes that have tiles, and scores per class; with one label a
            tile the confusion, with several mean average precision.
        macro_f1_interval: its 95 % interval.
        intervals: of each class, in the order of `scores.per_class`.
        temperature, offsets: the logits are divided by the temperature; with several labels a tile the offset
            of each class is added then. Fitted on validation tiles.
        before, after: calibration before and after that.
    """

    scores: AnySplitScores
    macro_f1_interval: Interval
    intervals: JsonTuple[ClassIntervals]
    temperature: float
    offsets: JsonTuple[float] | None = None
    before: Calibration
    after: Calibration

    @property
    def calibrated_by(self) -> str:
        """Return temperature and offsets in words."""
        return describe_calibration(self.temperature, self.offsets)

    @classmethod
    def measure(
        cls,
        task: Task,
        logits: np.ndarray,
        *,
        labels: np.ndarray,
        classes: Sequence[str],
        decision: Decision,
    ) -> "ScoreDetails":
        """Score some tiles.

        Args:
            task: of the labels.
            logits: float (N, C), not calibrated.
            labels: of the tiles, as the task has them.
            classes: C names.
            decision: fitted on other tiles.
        """
        scores = task.score(logits, labels, classes=classes, decision=decision)
        return cls(
            scores=scores,
            macro_f1_interval=scores.interval_of_macro_f1,
            intervals=tuple(task.class_intervals(logits, labels, decision=decision)),
            temperature=decision.temperature,
            offsets=decision.offsets,
            before=task.score_calibration(logits, labels),
            after=task.score_calibration(decision.calibrate(logits), labels),
        )

    def check_calibration(self) -> CalibrationCheck:
        """Compare the calibration error with what chance gives for as many tiles."""
        return check_calibration(self.after, self.scores.count)
