"""Export validation: differences from the reference model, size and latency."""

import time
from collections import defaultdict
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Strict

from orbitune.errors import counted
from orbitune.evaluation.statistics.sentences import round_up_images
from orbitune.evaluation.tasks.score_loss import ScoreLoss
from orbitune.exporting.reference import Predict, ReferenceModel, predict_in_batches
from orbitune.exporting.refusals import ExportRefusedError, ExportUndecidedError
from orbitune.models.lineage.overlap import ENOUGH, describe_too_few, describe_trained
from orbitune.records import JsonTuple, Record
from orbitune.training.meter import folder_bytes

# Of a probability, for formats that compute in fp32 and in fp16.
FP32_DIFFERENCE, FP16_DIFFERENCE = 1e-3, 0.02
TOLERANCE = 0.5  # percentage points of a validation score that a format in int8 may lose
_BATCH = 64
TIMING_SECONDS = 0.5  # of calls with a single tile
_OF_LOSS = ("points_lost", "low", "high", "alone")
_FEWEST_CALLS, _MOST_CALLS = 5, 500


class Latency(Record):
    """Latency of calls in milliseconds.

    Attributes:
        p50: median.
        p99: 99th percentile; None where an earlier version measured.
    """

    p50: float
    p99: float | None = None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """Return the latency of some calls."""
        p50, p99 = np.percentile(seconds, [50, 99], method="higher")
        return cls(p50=1000 * float(p50), p99=1000 * float(p99))

    def __str__(self) -> str:
        """Return median and 99th percentile for people."""
        return f"{self.p50:.1f} ms" if self.p99 is None else f"{self.p50:.1f} / {self.p99:.1f} ms"


class ExportCheck(Record):
    """Measures of one exported model on the validation tiles.

    Fractions and accuracies are 0..1.

    Attributes:
        tiles: number of validation tiles.
        agreement: fraction of tiles with the class, or the set of labels, that the reference model predicts.
        largest_difference: of any probability of any tile.
        accuracy, reference_accuracy: of the exported and of the reference model; None with several labels a
            tile, like the next.
        points_lost, low, high: percentage points of accuracy lost, and the 95 % interval of the paired score
            test.
        alone: number of tiles that only the exported, and only the reference model has right; None where an
            earlier version measured.
        label_losses: with several labels a tile, the mean average precision and micro-F1 lost; else empty.
        split: name of the split of the tiles; None where an earlier version measured.
        seen: number of the tiles that the runs of the backbone were trained on; None where it is not known.
        losses_on_others: the losses on the other tiles; empty where none were seen, or too few are left.
        bytes: size on disk.
        latency: of a call, by the number of tiles in it.
    """

    tiles: int
    agreement: float
    largest_difference: float
    accuracy: float | None = None
    reference_accuracy: float | None = None
    points_lost: float | None = None
    low: float | None = None
    high: float | None = None
    alone: Annotated[tuple[int, int], Strict(False)] | None = None
    label_losses: JsonTuple[ScoreLoss] = ()
    split: str | None = None
    seen: int | None = None
    losses_on_others: JsonTuple[ScoreLoss] = ()
    bytes: int
    latency: dict[str, Latency]

    @property
    def losses(self) -> tuple[ScoreLoss, ...]:
        """Return the losses that a format in int8 is judged by: of the accuracy, or those of the labels."""
        if self.label_losses:
            return self.label_losses
        values: dict[str, Any] = {name: getattr(self, name) for name in _OF_LOSS}
        values |= {"found": self.accuracy, "reference": self.reference_accuracy}
        return (ScoreLoss(score="accuracy", **values),)

    def check(self, title: str, *, difference: float | None, tolerance: float) -> None:
        """Check the differences against what is allowed.

        Args:
            title: of the format, for the message.
            difference: what a probability may differ by; None where the scores count.
            tolerance: percentage points of each score that a format without `difference` may lose; the upper
                end of each paired interval must not exceed it.

        Raises:
            ExportRefusedError: the exported model differs by more.
            ExportUndecidedError: the tiles are too few to tell.
        """
        if difference is not None and not self.largest_difference <= difference:
            raise ExportRefusedError(
                f"{title} fails validation and is not kept: a probability differs from the trained model's "
                f"by {self.largest_difference:.2g}, and {difference:g} is allowed."
            )
        if difference is None:
            self._check_losses(title, tolerance)

    def _check_losses(self, title: str, tolerance: float) -> None:
        """Check the scores of a format in int8; see `check`."""
        for lost in self.losses:
            if not lost.points_lost <= tolerance:
                raise ExportRefusedError(
                    f"{title} fails validation and is not kept: it loses {lost.points_lost:.2f} points "
                    f"of validation {lost.score} ({lost.low:.2f} to {lost.high:.2f}), and {tolerance:g} "
                    "are allowed (--tolerance)."
                )
        open_losses = [lost for lost in self.losses if not lost.high <= tolerance]
        if not open_losses:
            return
        worst = max(open_losses, key=lambda lost: lost.high)
        needed = [lost.tiles_needed(tolerance, tiles=self.tiles) for lost in open_losses]
        known = [count for count in needed if count is not None]
        count = f"about {round_up_images(max(known)):,}" if len(known) == len(needed) else "far more"
        raise ExportUndecidedError(
            f"{title} is undecided and not kept: {self.tiles:,} validation tiles are too few to show that it "
            f"loses at most {tolerance:g} points of {worst.score} ({worst.points_lost:.2f} lost, 95 % "
            f"interval {worst.low:.2f} to {worst.high:.2f}). It takes {count} tiles, or "
            f"--tolerance {ceil(100 * worst.high) / 100:g}, which allows what may be lost."
        )

    def describe_seen(self, whose: str) -> str:
        """Return how many of the tiles the backbone was trained on, in one line; empty where none.

        Args:
            whose: name of the runs of the backbone.
        """
        line = describe_trained(counted(self.tiles, "validation tile"), self.seen, whose=whose)
        if not self.seen:
            return line
        line = f"{line}: they say little about new tiles"
        rest = self.tiles - self.seen
        if not self.losses_on_others:
            return f"{line}; {describe_too_few(rest)}"
        losses = (
            f"{each.points_lost:.2f} points of {each.score} ({each.low:.2f} to {each.high:.2f})"
            for each in self.losses_on_others
        )
        return f"{line}; without them it loses {' and '.join(losses)}, on {counted(rest, 'tile')}"

    def table_row(self) -> dict[str, str]:
        """Return the measures as cells of a table by the names of the columns."""
        row = {
            "agreement": f"{self.agreement:.2%}",
            "largest difference": f"{self.largest_difference:.1e}",
        }
        for lost in self.losses:
            interval = f"({lost.low:.2f} to {lost.high:.2f})"
            row[f"{lost.score} lost (95 % interval)"] = f"{lost.points_lost:.2f} points {interval}"
        return row | {
            "size": f"{self.bytes / 1e6:.1f} MB",
            "1 tile (p50 / p99)": str(self.latency["1"]),
            f"{_BATCH} tiles (p50 / p99)": str(self.latency[str(_BATCH)]),
        }


def measure_export(predict: Predict, path: Path, *, reference: ReferenceModel) -> ExportCheck:
    """Compare an exported model with the reference model on the validation tiles.

    Args:
        predict: of the exported model.
        path: its file or folder.
    """
    setup = reference.setup
    tiles, indices = setup.tiles, setup.splits["validation"]
    wanted, labels = reference.validation_probabilities, tiles.labels[indices]
    timed = TimedPredict(predict)
    found = predict_in_batches(timed, tiles, indices=indices)
    task, decision = reference.bundle.task, reference.bundle.decision
    # Labels are (N,), or (N, C) with several a tile.
    chosen, expected = (task.labels_of(each, decision).reshape(len(indices), -1) for each in (found, wanted))
    losses = task.lost_scores(found, wanted, labels=labels, decision=decision)
    seen = setup.trained_before("validation")
    losses_on_others = tuple[ScoreLoss, ...]()
    if seen is not None and seen.any() and (rest := ~seen).sum() >= ENOUGH:
        losses_on_others = task.lost_scores(found[rest], wanted[rest], labels=labels[rest], decision=decision)
    return ExportCheck(
        tiles=len(indices),
        agreement=float((chosen == expected).all(1).mean()),
        largest_difference=float(np.abs(found - wanted).max()),
        **({"label_losses": losses} if labels.ndim == 2 else _accuracy_fields(losses[0])),
        split=setup.data.split_name,
        seen=None if seen is None else int(seen.sum()),
        losses_on_others=losses_on_others,
        bytes=folder_bytes(path) if path.is_dir() else path.stat().st_size,
        latency={
            "1": timed.latency(tiles.read(indices[:1]), seconds=TIMING_SECONDS),
            str(_BATCH): timed.latency(tiles.read(np.resize(indices, _BATCH))),
        },
    )


def _accuracy_fields(lost: ScoreLoss) -> dict[str, Any]:
    """Return the accuracy lost as fields of an `ExportCheck`."""
    values = {name: getattr(lost, name) for name in _OF_LOSS}
    return {"accuracy": lost.found, "reference_accuracy": lost.reference, **values}


class TimedPredict:
    """A prediction function whose calls are timed.

    Args:
        predict: of an exported model.
    """

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._seconds: dict[int, list[float]] = defaultdict(list)

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        """Return the probabilities of tiles."""
        start = time.perf_counter()
        probabilities = self._predict(tiles)
        self._seconds[len(tiles)].append(time.perf_counter() - start)
        return probabilities

    def latency(self, tiles: np.ndarray, *, seconds: float = 0.0) -> Latency:
        """Return the latency of calls with as many tiles as these, without the first.

        Args:
            tiles: for further calls, where there were fewer than five or less than `seconds`.
        """
        taken = self._seconds[len(tiles)]
        while len(taken) <= _FEWEST_CALLS or (sum(taken) < seconds and len(taken) <= _MOST_CALLS):
            self(tiles)
        return Latency.of(taken[1:])
