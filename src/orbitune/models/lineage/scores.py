"""Scores of a saved model on one set of tiles."""

from typing import Annotated

from pydantic import Field, FiniteFloat, NonNegativeInt, Strict

from orbitune.errors import counted
from orbitune.models.lineage.overlap import SeenCounts
from orbitune.records import Record

Fraction = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


Interval = Annotated[tuple[FiniteFloat, FiniteFloat], Strict(False)]


class Scores(Record):
    """Scores on one split.

    Attributes:
        accuracy: 0..1.
        interval: its 95 % Wilson interval, low and high.
        macro_f1: 0..1, the mean over the classes.
        macro_f1_interval: its 95 % interval, low and high; None where an earlier version scored, and with
            several labels a tile, where `intervals` has it.
        count: number of tiles.
        seen: those of them that the model, or one that it comes from, has seen; None where none are known.
    """

    accuracy: Fraction
    interval: Interval
    macro_f1: FiniteFloat
    macro_f1_interval: Interval | None = None
    count: NonNegativeInt = 0
    seen: SeenCounts | None = None

    def headline(self) -> dict[str, float]:
        """Return the main scores by name."""
        return {"accuracy": self.accuracy, "macro-F1": self.macro_f1}

    def describe_seen(self, split: str, whose: str) -> str:
        """Return how many tiles of a split some models have seen, in one line; empty where none are known.

        Args:
            split: what the tiles are called.
            whose: the models that have seen them.
        """
        return self.seen.describe(counted(self.count, f"{split} tile"), whose) if self.seen else ""

    def cells(self) -> dict[str, str]:
        """Return the texts of a table's row by the names of the columns."""
        low, high = self.interval
        measured = "macro-F1" if self.macro_f1_interval is None else "macro-F1 (95 % interval)"
        return {
            "accuracy": f"{self.accuracy:.2%}",
            "95 % interval": f"{low:.2%} to {high:.2%}",
            measured: self.describe_macro_f1(4),
        }

    def describe_macro_f1(self, digits: int) -> str:
        """Return macro-F1 with its interval, with a number of decimals."""
        if self.macro_f1_interval is None:
            return f"{self.macro_f1:.{digits}f}"
        return _with_interval(self.macro_f1, self.macro_f1_interval, digits)


class LabelSetSummary(Scores):
    """Scores of several labels a tile on one split.

    Attributes:
        accuracy: fraction of the tiles of which all labels are right.
        mean_average_precision: 0..1, the mean over the classes that have tiles.
        micro_f1: 0..1, of all labels together; as macro_f1, at the thresholds of the model.
        intervals: 95 % intervals of the scores, low and high, by their names.
    """

    mean_average_precision: Fraction
    micro_f1: Fraction
    intervals: dict[str, Interval]

    def headline(self) -> dict[str, float]:
        """Return the main scores by name."""
        return {"mAP": self.mean_average_precision, "micro-F1": self.micro_f1, "macro-F1": self.macro_f1}

    def cells(self) -> dict[str, str]:
        """Return the texts of a table's row by the names of the columns."""
        low, high = self.intervals["mean_average_precision"]
        micro, macro = self.intervals["micro_f1"], self.intervals["macro_f1"]
        return {
            "mAP": f"{self.mean_average_precision:.4f}",
            "95 % interval": f"{low:.4f} to {high:.4f}",
            "micro-F1 (95 % interval)": _with_interval(self.micro_f1, micro, 4),
            "macro-F1 (95 % interval)": _with_interval(self.macro_f1, macro, 4),
        }


def _with_interval(value: float, interval: Interval, digits: int) -> str:
    """Return a score with its interval behind it in brackets."""
    low, high = interval
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


AnyScores = Annotated[LabelSetSummary | Scores, Field(union_mode="left_to_right")]
