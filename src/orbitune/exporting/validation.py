"""Export validation: differences from the reference model, size and latency."""

import statistics
import time
from pathlib import Path

import numpy as np

from orbitune.errors import RunError
from orbitune.evaluation.paired import PairedTest
from orbitune.exporting.reference import Predict, ReferenceModel, predict_in_batches
from orbitune.records import Record
from orbitune.training.meter import folder_bytes

LARGEST_DIFFERENCE = 1e-3  # of a probability, for a format that computes in fp32
TOLERANCE = 0.5  # percentage points of validation accuracy that a format in int8 may lose
_BATCH = 64
TIMING_SECONDS = 3.0  # of timing, at each batch size


class ExportRefusedError(RunError):
    """An exported model that differs too much from the trained model."""

    kind = "refused"


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
        milliseconds: median latency of a call, by the number of tiles in it.
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
    milliseconds: dict[str, float]

    def check(self, title: str, *, exact: bool, tolerance: float) -> None:
        """Check the differences against what is allowed.

        Args:
            title: of the format, for the message.
            exact: whether probabilities must be the same to `LARGEST_DIFFERENCE`.
            tolerance: percentage points of accuracy that a format that is not exact may lose.

        Raises:
            ExportRefusedError: the exported model differs by more.
        """
        if exact and not self.largest_difference <= LARGEST_DIFFERENCE:
            raise ExportRefusedError(
                f"{title} fails validation and is not kept: a probability differs from the trained model's "
                f"by {self.largest_difference:.2g}, and {LARGEST_DIFFERENCE:g} is allowed."
            )
        if not exact and not self.points_lost <= tolerance:
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
            f"{self.milliseconds['1']:.1f} ms",
            f"{self.milliseconds[str(_BATCH)]:.1f} ms",
        ]


def measure_export(predict: Predict, path: Path, *, reference: ReferenceModel) -> ExportCheck:
    """Compare an exported model with the reference model on the validation tiles.

    Args:
        predict: of the exported model.
        path: its file or folder.
    """
    tiles, indices = reference.setup.tiles, reference.setup.splits["validation"]
    wanted, labels = reference.validation_probabilities, tiles.labels[indices]
    found = predict_in_batches(predict, tiles, indices=indices)
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
        milliseconds={
            str(count): _median_milliseconds(predict, tiles.read(np.resize(indices, count)))
            for count in (1, _BATCH)
        },
    )


def _median_milliseconds(predict: Predict, batch: np.ndarray) -> float:
    """Return the median latency of a call, after a warm-up call."""
    predict(batch)
    taken: list[float] = []
    while len(taken) < 5 or (sum(taken) < TIMING_SECONDS and len(taken) < 50):
        start = time.perf_counter()
        predict(batch)
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)
