"""What a page says of the scores of one model on one set of tiles."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from orbitune.evaluation.calibration import Calibration
from orbitune.evaluation.details.class_intervals import ClassIntervals, Interval
from orbitune.evaluation.details.misclassified import Misclassified
from orbitune.evaluation.details.score_details import ScoreDetails
from orbitune.evaluation.metrics import ClassScores, SplitScores
from orbitune.reporting import formatting as fmt
from orbitune.reporting import reliability
from orbitune.reporting.components import BulletList, Component, Figure, Panel, Table
from orbitune.reporting.drawing import Look

COLOUR = "#0072b2"  # of a single model in every figure
LOOK: Look = {"color": COLOUR, "marker": "o"}


class ScoreView(ABC):
    """The scores of a model, as a page shows them.

    Attributes:
        calibrated_by: the name of what calibrates the logits.
        predictions: what has the probabilities, and when these come true.
        details: the scores with their intervals and the calibration.
        tiles: what the tiles are called, such as "test tiles of the spatial split".
        synthetic: whether the tiles are synthetic.
    """

    calibrated_by = "temperature scaling"
    predictions: ClassVar[str]

    def __init__(self, details: ScoreDetails, tiles: str, *, synthetic: bool) -> None:
        self.details = details
        self.tiles = tiles
        self.synthetic = synthetic

    @property
    def counted_tiles(self) -> str:
        """Return what the tiles are called, with their number."""
        return f"{self.details.scores.count:,} {self.tiles}"

    @property
    def digits(self) -> int:
        """Return the decimals of a percentage: with few tiles, one tile is more than 0.1 %."""
        return 2 if self.details.scores.count >= 1000 else 1

    @property
    def names(self) -> list[str]:
        """Return the class names."""
        return [row.name for row in self.details.scores.per_class]

    @abstractmethod
    def headline(self) -> str:
        """State the main score with its interval, as a sentence that can be quoted alone."""

    @abstractmethod
    def other_scores(self) -> str:
        """State the other scores with their intervals."""

    @abstractmethod
    def weakest(self) -> str:
        """Name the class with the lowest score; empty where nothing is wrong."""

    @abstractmethod
    def cells(self, scores: SplitScores) -> dict[str, str]:
        """Return the main scores of some tiles as cells of a table, by the heads of the columns."""

    @abstractmethod
    def class_table(self) -> Table:
        """Return the scores of each class with their intervals."""

    @abstractmethod
    def picture(self) -> Figure:
        """Draw the scores of the classes."""

    @abstractmethod
    def describe(self, tile: Misclassified) -> tuple[str, list[str]]:
        """Return what is true of a misclassified tile, and lines on what was predicted."""

    @abstractmethod
    def diagrams(self) -> tuple[str, list[Panel]]:
        """Return the caption of the reliability diagrams, and the diagrams before and after scaling."""

    def curves(self) -> list[tuple[str, str, reliability.ReliabilityCurve]]:
        """Return (name, title, curve) of the reliability diagrams."""
        before, after, tiles = self.details.before, self.details.after, self.details.scores.count
        return [
            (
                "reliability-before",
                f"Before {self.calibrated_by}: ECE {fmt.percent(before.ece, 2)}",
                reliability.ReliabilityCurve(
                    f"without {self.calibrated_by}", LOOK, before, tiles, before.ece
                ),
            ),
            (
                "reliability-after",
                f"After, T = {self.details.temperature:.2f}: ECE {fmt.percent(after.ece, 2)}",
                reliability.ReliabilityCurve(f"with {self.calibrated_by}", LOOK, after, tiles, after.ece),
            ),
        ]

    def calibration_sentence(self) -> str:
        """State whether the probabilities are what they say, as far as the tiles can show."""
        check = self.details.check_calibration()
        if not check.enough:
            return reliability.too_few(check.tiles)
        chance = f"chance alone gives up to {fmt.percent(check.by_chance, 1)}"
        error = (
            f"expected calibration error {fmt.percent(check.ece, 1)}, "
            f"{fmt.percent(self.details.before.ece, 1)} without {self.calibrated_by}; {chance}"
        )
        if check.agrees:
            return f"The probabilities are right as far as {check.tiles:,} tiles can show ({error})."
        excess = check.confidence - check.accuracy
        if abs(excess) < check.ece / 2:
            return f"Some probabilities are too high and others too low ({error})."
        return (
            f"The probabilities are too {'high' if excess > 0 else 'low'}: their mean is "
            f"{fmt.percent(check.confidence, 1)}, and {fmt.percent(check.accuracy, 1)} of the "
            f"{self.predictions} ({error})."
        )

    def conclusions(self) -> list[str]:
        """Return paragraphs on the scores, after the headline."""
        scores = " ".join(filter(None, [self.other_scores(), self.weakest()]))
        return [scores, self.calibration_sentence()]

    def calibration(self) -> list[Component]:
        """Return the reliability diagrams and the table of the calibration."""
        states, few = (self.details.before, self.details.after), not self.details.check_calibration().enough
        errors = [
            ["ECE", *(fmt.percent(each.ece, 2) for each in states)],
            ["ECE if perfectly calibrated (95 %)", *(_noise(each) for each in states)],
            ["ECE, equal-width bins", *(fmt.percent(each.ece_equal_width, 2) for each in states)],
        ]
        rows = [
            *([] if few else errors),
            ["Brier score", *(f"{each.brier:.4f}" for each in states)],
            ["Loss, nats", *(f"{each.loss:.4f}" for each in states)],
        ]
        table = Table(
            f"Calibration on the {self.counted_tiles}, before and after {self.calibrated_by}, fitted on "
            "validation tiles",
            ["Measure", "Before", "After"],
            rows,
        )
        if few:
            return [BulletList([reliability.too_few(self.details.scores.count)]), table]
        return [Figure(*self.diagrams()), table]

    def cell(self, value: float, interval: Interval | None) -> str:
        """Format a score and its interval for a table; a dash where it has no tiles to rest on."""
        return fmt.with_interval((value, *interval), self.digits) if interval else fmt.NOTHING

    def class_cells(self, row: ClassScores, own: ClassIntervals) -> list[str]:
        """Return precision, recall and F1 of a class with their intervals."""
        return [
            self.cell(row.precision, own.precision),
            self.cell(row.recall, own.recall),
            self.cell(row.f1, own.f1 if row.support else None),
        ]

    def rows(self) -> Sequence[tuple[ClassScores, ClassIntervals]]:
        """Return the scores of each class with their intervals."""
        return [*zip(self.details.scores.per_class, self.details.intervals, strict=True)]


def _noise(calibration: Calibration) -> str:
    """Return the range of the calibration error that perfectly calibrated models have."""
    found = calibration.ece_if_calibrated
    return f"{fmt.percent_range(found, 2)} %" if found else fmt.NOTHING
