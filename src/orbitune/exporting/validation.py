"""Export validation: differences from the reference model, size and latency."""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orbitune.errors import RunError
from orbitune.evaluation.paired import PairedTest
from orbitune.exporting.reference import Predict, ReferenceModel, predict_in_batches
from orbitune.records import Record
from orbitune.training.meter import folder_bytes

# Of a probability, for formats that compute in fp32 and in fp16.
FP32_DIFFERENCE, FP16_DIFFERENCE = 1e-3, 0.02
TOLERANCE = 0.5  # percentage points of validation accuracy that a format in int8 may lose
_BATCH = 64
TIMING_SECONDS = 0.5  # of calls with a single tile
_FEWEST_CALLS, _MOST_CALLS = 5, 500


class ExportRefusedError(RunError):
    """An exported model that differs too much from the trained model."""

    kind = "refused"


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
        agreement: fraction of tiles with the class that the reference model predicts.
        largest_difference: of any probability of any tile.
        accuracy, reference_accuracy: of the exported and of the reference model.
        points_lost, low, high: percentage points of accuracy lost, and the 95 % interval of the paired score
            test.
        bytes: size on disk.
        latency: of a call, by the number of tiles in it.
    """

    tiles: int
    agreement: float
    largest_difference: float
    accuracy: float
    reference_accuracy: float
    points_lost: float
    low: float
    high: float
    bytes: int
    latency: dict[str, Latency]

    def check(self, title: str, *, difference: float | None, tolerance: float) -> None:
        """Check the differences against what is allowed.

        Args:
            title: of the format, for the message.
            difference: what a probability may differ by; None where accuracy counts.
            tolerance: percentage points of accuracy that a format without `difference` may lose.

        Raises:
            ExportRefusedError: the exported model differs by more.
        """
        if difference is not None and not self.largest_difference <= difference:
            raise ExportRefusedError(
                f"{title} fails validation and is not kept: a probability differs from the trained model's "
                f"by {self.largest_difference:.2g}, and {difference:g} is allowed."
            )
        if difference is None and not self.points_lost <= tolerance:
            raise ExportRefusedError(
                f"{title} fails validation and is not kept: it loses {self.points_lost:.2f} points of "
                f"validation accuracy ({self.low:.2f} to {self.high:.2f}), and {tolerance:g} are allowed "
                "(--tolerance)."
            )

    def table_row(self) -> list[str]:
        """Return the measures as cells of a table, see `ExportReport.table`."""
        return [
            f"{self.agreement:.2%}",
            f"{self.largest_difference:.1e}",
            f"{self.points_lost:.2f} points",
            f"({self.low:.2f} to {self.high:.2f})",
            f"{self.bytes / 1e6:.1f} MB",
            str(self.latency["1"]),
            str(self.latency[str(_BATCH)]),
        ]


def measure_export(predict: Predict, path: Path, *, reference: ReferenceModel) -> ExportCheck:
    """Compare an exported model with the reference model on the validation tiles.

    Args:
        predict: of the exported model.
        path: its file or folder.
    """
    tiles, indices = reference.setup.tiles, reference.setup.splits["validation"]
    wanted, labels = reference.validation_probabilities, tiles.labels[indices]
    timed = TimedPredict(predict)
    found = predict_in_batches(timed, tiles, indices=indices)
    chosen, expected = found.argmax(1), wanted.argmax(1)
    score = PairedTest.from_correct((chosen == labels)[None], (expected == labels)[None])
    low, high = score.interval()
    return ExportCheck(
        tiles=len(indices),
        agreement=float((chosen == expected).mean()),
        largest_difference=float(np.abs(found - wanted).max()),
        accuracy=float((chosen == labels).mean()),
        reference_accuracy=float((expected == labels).mean()),
        points_lost=-100 * score.difference + 0.0,
        low=-100 * high,
        high=-100 * low,
        bytes=folder_bytes(path) if path.is_dir() else path.stat().st_size,
        latency={
            "1": timed.latency(tiles.read(indices[:1]), seconds=TIMING_SECONDS),
            str(_BATCH): timed.latency(tiles.read(np.resize(indices, _BATCH))),
        },
    )


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
