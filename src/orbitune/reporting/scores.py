"""Scores of one model on one set of tiles: sentences, tables and figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbitune.evaluation.calibration import Calibration, score_calibration
from orbitune.evaluation.class_intervals import class_intervals, macro_f1_interval
from orbitune.evaluation.metrics import SplitScores
from orbitune.reporting import confusion, reliability
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Component, Figure, Table
from orbitune.reporting.drawing import Look

COLOUR = "#0072b2"  # of a single model in every figure
LOOK: Look = {"color": COLOUR, "marker": "o"}
_MEASURES = (
    ("ECE", "ece", 100),
    ("ECE, equal-width bins", "ece_equal_width", 100),
    ("Brier score", "brier", 1),
    ("Loss, nats", "loss", 1),
)


@dataclass(frozen=True)
class ModelScores:
    """Scores of a model on some tiles, with the calibration of its probabilities.

    Attributes:
        tiles: what the tiles are called, such as "test tiles of the spatial split".
        scores: accuracy, confusion and scores per class.
        before, after: calibration of the probabilities before and after temperature scaling.
        temperature: by which the logits were divided.
        synthetic: whether the tiles are synthetic.
    """

    tiles: str
    scores: SplitScores
    before: Calibration
    after: Calibration
    temperature: float
    synthetic: bool

    @classmethod
    def measure(
        cls,
        tiles: str,
        scores: SplitScores,
        *,
        logits: np.ndarray,
        labels: np.ndarray,
        temperature: float,
        synthetic: bool,
    ) -> "ModelScores":
        """Measure the calibration beside the scores.

        Args:
            tiles: what they are called.
            scores: on them.
            logits: float (N, C), before the temperature.
            labels: int64 (N,), the true classes.
            temperature: fitted on other tiles.
            synthetic: whether the tiles are synthetic.
        """
        before = score_calibration(logits, labels)
        after = score_calibration(logits / temperature, labels)
        return cls(tiles, scores, before, after, temperature, synthetic)

    @property
    def digits(self) -> int:
        """Return the decimals of a percentage: with few tiles, one tile is more than 0.1 %."""
        return 2 if self.scores.count >= 1000 else 1

    @property
    def counts(self) -> np.ndarray:
        """Return the tiles by true class (rows) and predicted class (columns), int (C, C)."""
        return np.array(self.scores.confusion)

    def accuracy_sentence(self) -> str:
        """State accuracy and macro-F1 with their intervals."""
        scores, digits = self.scores, self.digits
        correct = int(np.trace(self.counts))
        accuracy, macro_f1 = scores.interval, macro_f1_interval(self.counts)
        return (
            f"{correct:,} of {scores.count:,} {self.tiles} are classified correctly: accuracy "
            f"{fmt.percent(scores.accuracy, digits)} (95 % interval {fmt.percent_range(accuracy, digits)}), "
            f"macro-F1 {fmt.percent(scores.macro_f1, digits)} ({fmt.percent_range(macro_f1, digits)})."
        )

    def weakest_sentence(self) -> str:
        """Name the class with the lowest F1, and what it is taken for; empty without errors."""
        present = [i for i, row in enumerate(self.scores.per_class) if row.support]
        if not present or self.scores.accuracy == 1:
            return ""
        index = min(present, key=lambda i: self.scores.per_class[i].f1)
        row = self.scores.per_class[index]
        mistaken = mistaken_for(self.counts, index, names=self.names)
        taken = f"; it is most often taken for {mistaken}" if mistaken else ""
        return f"The weakest class is {row.name}, with an F1 of {fmt.percent(row.f1, self.digits)}{taken}."

    def calibration_sentence(self) -> str:
        """State the calibration error and what temperature scaling changes."""
        return (
            f"Its confidence differs from its accuracy by {fmt.percent(self.after.ece, 1)} on average "
            f"(expected calibration error; {fmt.percent(self.before.ece, 1)} without temperature scaling)."
        )

    @property
    def names(self) -> list[str]:
        """Return the class names."""
        return [row.name for row in self.scores.per_class]

    def class_table(self) -> Table:
        """Return precision, recall and F1 of each class with their intervals."""
        intervals = class_intervals(self.counts)

        def cell(value: float, interval: tuple[float, float] | None) -> str:
            return fmt.with_interval((value, *interval), self.digits) if interval else fmt.NOTHING

        rows = [
            [
                row.name,
                f"{row.support:,}",
                cell(row.precision, own.precision),
                cell(row.recall, own.recall),
                cell(row.f1, own.f1 if row.support else None),
                mistaken_for(self.counts, index, names=self.names) or fmt.NOTHING,
            ]
            for index, (row, own) in enumerate(zip(self.scores.per_class, intervals, strict=True))
        ]
        header = ["Class", "Tiles", "Precision", "Recall", "F1", "Most often taken for"]
        return Table(f"Scores of each class on the {self.tiles} (95 % intervals)", header, rows)

    def confusion_figure(self) -> Figure:
        """Draw the confusion matrix."""
        panel = confusion.confusion_panel(
            "confusion",
            fmt.capital(self.tiles),
            counts=self.counts,
            classes=self.names,
            colour=COLOUR,
            of=f"the {self.tiles}",
            synthetic=self.synthetic,
        )
        return Figure(confusion.LEGEND.format(counted=""), [panel])

    def calibration(self) -> list[Component]:
        """Return the reliability diagrams and the table of the calibration."""
        before, after = (
            reliability.ReliabilityCurve(f"{name} temperature scaling", LOOK, each)
            for name, each in (("without", self.before), ("with", self.after))
        )
        panels = [
            reliability.reliability_panel(
                f"reliability-{name}", title, curves=[curve], beside=[before, after], synthetic=self.synthetic
            )
            for name, title, curve in (
                ("before", f"Before temperature scaling: ECE {_measure(self.before.ece, 100)}", before),
                ("after", f"After, T = {self.temperature:.2f}: ECE {_measure(self.after.ece, 100)}", after),
            )
        ]
        rows = [
            [head, *(_measure(getattr(each, key), scale) for each in (self.before, self.after))]
            for head, key, scale in _MEASURES
        ]
        caption = f"Calibration on the {self.tiles}; the temperature was fitted on validation tiles"
        table = Table(caption, ["Measure", "Before", "After"], rows)
        return [Figure(reliability.LEGEND.format(tiles="Tiles", subject="the model"), panels), table]


def mistaken_for(counts: np.ndarray, index: int, *, names: Sequence[str]) -> str:
    """Return the class that a class is most often taken for, with the number of tiles.

    Args:
        counts: tiles by true class (rows) and predicted class (columns), int (C, C).
        index: of the class.
        names: of the classes.

    Returns:
        Such as "River (12)"; empty if all its tiles are correct.
    """
    row = counts[index].copy()
    row[index] = 0
    return f"{names[int(row.argmax())]} ({int(row.max()):,})" if row.any() else ""


def _measure(value: float, scale: int) -> str:
    return fmt.percent(value, 2) if scale == 100 else f"{value:.4f}"
