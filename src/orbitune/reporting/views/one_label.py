"""View of the scores of one label a tile."""

import numpy as np

from orbitune.errors import counted
from orbitune.evaluation.details.misclassified import Misclassified
from orbitune.evaluation.metrics import SplitScores
from orbitune.reporting import confusion, reliability
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure, Panel, Table
from orbitune.reporting.views.score_view import COLOUR, ScoreView


class OneLabelView(ScoreView):
    """Accuracy, macro-F1 and the confusion matrix."""

    predictions = "predictions are right"

    @property
    def counts(self) -> np.ndarray:
        """Return the tiles by true class (rows) and predicted class (columns), int (C, C)."""
        return np.array(self.details.scores.confusion)

    def headline(self) -> str:
        """State the accuracy with its interval."""
        scores, correct = self.details.scores, int(np.trace(self.counts))
        return (
            f"{correct:,} of {scores.count:,} {self.tiles} are classified correctly: accuracy "
            f"{fmt.percent(scores.accuracy, self.digits)} (95 % interval "
            f"{fmt.percent_range(scores.interval, self.digits)})."
        )

    def other_scores(self) -> str:
        """State macro-F1 with its interval."""
        macro_f1 = fmt.percent(self.details.scores.macro_f1, self.digits)
        return (
            f"Macro-F1, the mean F1 of the classes, is {macro_f1} (95 % interval "
            f"{fmt.percent_range(self.details.macro_f1_interval, self.digits)})."
        )

    def weakest(self) -> str:
        """Name the class with the lowest F1, and what it is taken for."""
        present = [i for i, row in enumerate(self.details.scores.per_class) if row.support]
        if self.details.scores.accuracy == 1:
            return ""
        index = min(present, key=lambda i: self.details.scores.per_class[i].f1)
        row, own = self.rows()[index]
        mistaken = self.mistaken_for(index)
        taken = f"; it is most often taken for {mistaken}" if mistaken else ""
        return (
            f"The weakest class is {row.name}, with an F1 of {self.cell(row.f1, own.f1)} on "
            f"{counted(row.support, 'tile')}{taken}."
        )

    def mistaken_for(self, index: int) -> str:
        """Return the class that a class is most often taken for, with the number of tiles.

        Args:
            index: of the class.

        Returns:
            Such as "River (12)"; empty if all its tiles are correct.
        """
        row = self.counts[index].copy()
        row[index] = 0
        return f"{self.names[int(row.argmax())]} ({int(row.max()):,})" if row.any() else ""

    def cells(self, scores: SplitScores) -> dict[str, str]:
        """Return accuracy, macro-F1 and loss."""
        return {
            "Accuracy (95 % interval)": self.cell(scores.accuracy, scores.interval),
            "Macro-F1 (95 % interval)": self.cell(scores.macro_f1, scores.interval_of_macro_f1),
            "Loss, nats": f"{scores.loss:.4f}",
        }

    def class_table(self) -> Table:
        """Return precision, recall and F1 of each class, and what it is taken for."""
        rows = [
            [
                row.name,
                f"{row.support:,}",
                *self.class_cells(row, own),
                self.mistaken_for(index) or fmt.NOTHING,
            ]
            for index, (row, own) in enumerate(self.rows())
        ]
        header = ["Class", "Tiles", "Precision", "Recall", "F1", "Most often taken for"]
        return Table(f"Scores of each class on the {self.counted_tiles} (95 % intervals)", header, rows)

    def picture(self) -> Figure:
        """Draw the confusion matrix."""
        panel = confusion.confusion_panel(
            "confusion",
            "Confusion matrix",
            counts=self.counts,
            classes=self.names,
            colour=COLOUR,
            of=f"the {self.counted_tiles}",
            synthetic=self.synthetic,
        )
        return Figure(f"The {self.counted_tiles}. {confusion.LEGEND.format(counted='')}", [panel])

    def describe(self, tile: Misclassified) -> tuple[str, list[str]]:
        """Return the true class, the predicted one and their probabilities."""
        said, true = fmt.narrow_percent(tile.confidence), fmt.narrow_percent(tile.truth_probability)
        lines = [f"Predicted: {self.names[tile.decided]}, {said}", f"The true class had {true}"]
        return f"True: {self.names[tile.truth[0]]}", lines

    def diagrams(self) -> tuple[str, list[Panel]]:
        """Return accuracy against confidence, on axes that are logarithmic in the error rate."""
        curves = self.curves()
        panels = [
            reliability.reliability_panel(
                name, title, curves=[curve], beside=[each for *_, each in curves], synthetic=self.synthetic
            )
            for name, title, curve in curves
        ]
        return reliability.LEGEND.format(tiles=f"The {self.counted_tiles}", subject="the model"), panels
