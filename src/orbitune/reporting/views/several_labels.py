"""View of the scores of several labels a tile."""

from typing import TYPE_CHECKING

from orbitune.evaluation.details.misclassified import Misclassified
from orbitune.evaluation.metrics import SplitScores
from orbitune.evaluation.tasks.label_set_scores import LabelSetScores
from orbitune.reporting import formatting as fmt
from orbitune.reporting import reliability
from orbitune.reporting.components import Figure, Panel, Table
from orbitune.reporting.drawing import HALF_WIDTH, QUIET, new_figure, shorten, to_panel
from orbitune.reporting.views.score_view import COLOUR, ScoreView

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SeveralLabelsView(ScoreView):
    """Mean average precision, F1 at the thresholds and average precision of each class."""

    calibrated_by = "temperature and offsets"
    predictions = "labels are present"

    @property
    def scores(self) -> LabelSetScores:
        """Return the scores."""
        assert isinstance(self.details.scores, LabelSetScores)
        return self.details.scores

    def headline(self) -> str:
        """State mean average precision with its interval, and how many tiles have all labels right."""
        mean = self._score("mAP", "mean_average_precision")
        return (
            f"{mean} on {self.scores.count:,} {self.tiles}; all labels are right for "
            f"{fmt.percent(self.scores.accuracy, self.digits)} of them."
        )

    def other_scores(self) -> str:
        """State micro-F1 and macro-F1 with their intervals."""
        return f"{self._score('Micro-F1', 'micro_f1')} and {self._score('macro-F1', 'macro_f1')}."

    def _score(self, title: str, name: str) -> str:
        interval = fmt.percent_range(self.scores.intervals[name], self.digits)
        return f"{title} {fmt.percent(getattr(self.scores, name), self.digits)} (95 % interval {interval})"

    def weakest(self) -> str:
        """Name the class with the lowest average precision."""
        found = [
            (row.average_precision, row.name)
            for row in self.scores.per_class
            if row.average_precision is not None
        ]
        if not found or min(found)[0] == 1:
            return ""
        value, name = min(found)
        return f"The weakest class is {name}, with an average precision of {fmt.percent(value, self.digits)}."

    def cells(self, scores: SplitScores) -> dict[str, str]:
        """Return mean average precision, F1, exact matches and loss."""
        assert isinstance(scores, LabelSetScores)
        mean = self.cell(scores.mean_average_precision, scores.intervals["mean_average_precision"])
        return {
            "mAP (95 % interval)": mean,
            "Micro-F1 (95 % interval)": self.cell(scores.micro_f1, scores.intervals["micro_f1"]),
            "Macro-F1 (95 % interval)": self.cell(scores.macro_f1, scores.interval_of_macro_f1),
            "All labels right (95 % interval)": self.cell(scores.accuracy, scores.interval),
            "Loss, nats": f"{scores.loss:.4f}",
        }

    def class_table(self) -> Table:
        """Return average precision, threshold, precision, recall and F1 of each class."""
        rows = [
            [
                row.name,
                f"{row.support:,}",
                fmt.NOTHING
                if row.average_precision is None
                else fmt.percent(row.average_precision, self.digits),
                f"{row.threshold:.3f}",
                *self.class_cells(row, own),
            ]
            for row, own in zip(self.scores.per_class, self.details.intervals, strict=True)
        ]
        header = ["Class", "Tiles", "Average precision", "Threshold", "Precision", "Recall", "F1"]
        return Table(f"Scores of each class on the {self.counted_tiles} (95 % intervals)", header, rows)

    def picture(self) -> Figure:
        """Draw average precision and F1 of each class, with the interval of F1."""
        rows = [(row, own) for row, own in zip(self.scores.per_class, self.details.intervals, strict=True)]
        height = 110 + 24 * len(rows)
        figure, axes = new_figure(
            "F1 and average precision", width=HALF_WIDTH, height=height, synthetic=self.synthetic
        )
        for place, (row, own) in enumerate(rows):
            if own.f1 and row.support:
                low, high = own.f1
                axes.plot([100 * low, 100 * high], [place] * 2, color=COLOUR, linewidth=2.2)
                axes.plot(100 * row.f1, place, color=COLOUR, marker="o", markersize=6.5)
            if row.average_precision is not None:
                axes.plot(100 * row.average_precision, place, color="#d55e00", marker="D", linestyle="none")
        _class_axis(axes, [row.name for row, _ in rows])
        axes.set_xlabel("%")
        caption = (
            f"The {self.counted_tiles}. Dots: F1 at the thresholds with its 95 % interval. "
            "Diamonds: average precision, for which no threshold is needed."
        )
        alt = "; ".join(f"{row.name} F1 {fmt.percent(row.f1, self.digits)}" for row, _ in rows)
        panel = to_panel(figure, "classes", alt=f"F1 of each class: {alt}.", width=HALF_WIDTH)
        return Figure(caption, [panel])

    def describe(self, tile: Misclassified) -> tuple[str, list[str]]:
        """Return the true labels, the predicted ones, and of the worst error probability and threshold."""
        row = self.scores.per_class[tile.decided]
        lines = [
            f"Predicted: {self._listed(tile.predicted)}",
            f"{row.name} {'is missing' if tile.missed else 'is wrong'}: its probability was "
            f"{fmt.narrow_percent(tile.probability)}, its threshold is {fmt.narrow_percent(row.threshold)}",
        ]
        return f"True: {self._listed(tile.truth)}", lines

    def _listed(self, classes: tuple[int, ...]) -> str:
        return ", ".join(self.names[label] for label in classes) or "no label"

    def diagrams(self) -> tuple[str, list[Panel]]:
        """Return the frequency of labels against their probability."""
        panels = [
            reliability.frequency_panel(name, title, curve=curve, synthetic=self.synthetic)
            for name, title, curve in self.curves()
        ]
        return (
            f"The {self.counted_tiles}: labels of all classes by probability; bars are 95 % intervals, "
            "wider where the labels of a tile depend on each other. On the dashed line, labels are as "
            "frequent as their probability says; below it, the probabilities are too high.",
            panels,
        )


def _class_axis(axes: "Axes", names: list[str]) -> None:
    """Label the classes, one row each."""
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.axvline(100, color=QUIET, linewidth=0.8, zorder=0)
