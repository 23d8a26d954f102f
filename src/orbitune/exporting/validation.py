"""The gate of an export: what it changes on the validation tiles, and what it takes in time and on disk."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.errors import RunError
from orbitune.evaluation.paired import PairedTest
from orbitune.exporting.reference import Predict
from orbitune.training.meter import folder_bytes

LARGEST_DIFFERENCE = 1e-3  # of a probability, where a form computes in fp32 as the model did
TOLERANCE = 0.5  # points of accuracy that a form with fewer bits may lose
_BATCH = 64
_SECONDS = 3.0  # of timing, at each batch size


class RefusedError(RunError):
    """An export that does not give what the trained model gives."""

    kind = "refused"


@dataclass(frozen=True)
class ExportCheck:
    """What the gate measured of one form. Probabilities and accuracies are shares in 0..1.

    Attributes:
        agreement: share of validation tiles given the class that the trained model gives them.
        largest_difference: of any probability of any validation tile.
        accuracy, reference_accuracy: on validation, of the form and of the trained model.
        points_lost, low, high: points of accuracy lost, and the 95 % interval of the paired score test.
        bytes: on disk.
        milliseconds: median time of a call, by the number of tiles in it.
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

    def check(self, title: str, exact: bool, tolerance: float) -> None:
        """Raise a RefusedError where the form differs by more than it may."""
        if exact and not self.largest_difference <= LARGEST_DIFFERENCE:
            raise RefusedError(
                f"{title} is refused, and not kept: a probability differs from the trained model's by "
                f"{self.largest_difference:.2g}, and {LARGEST_DIFFERENCE:g} is allowed."
            )
        if not exact and not self.points_lost <= tolerance:
            raise RefusedError(
                f"{title} is refused, and not kept: it loses {self.points_lost:.2f} points of validation "
                f"accuracy ({self.low:.2f} to {self.high:.2f}), and {tolerance:g} are allowed (--tolerance)."
            )


def measure(
    predict: Predict, path: Path, reference: np.ndarray, tiles: TileSet, indices: np.ndarray
) -> ExportCheck:
    """Compare a form with the trained model.

    Args:
        path: its file or folder.
        reference: the trained model's probabilities (N, C) of the tiles at these indices.
    """
    found, labels = in_batches(predict, tiles, indices), tiles.labels[indices]
    chosen, expected = found.argmax(1), reference.argmax(1)
    score = PairedTest.of((chosen == labels)[None], (expected == labels)[None])
    low, high = score.interval()
    return ExportCheck(
        tiles=len(indices),
        agreement=float((chosen == expected).mean()),
        largest_difference=float(np.abs(found - reference).max()),
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


def in_batches(predict: Predict, tiles: TileSet, indices: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) of the tiles at these indices."""
    parts = [indices[start : start + _BATCH] for start in range(0, len(indices), _BATCH)]
    return np.concatenate([predict(tiles.read(part)) for part in parts])


def _median_milliseconds(predict: Predict, batch: np.ndarray) -> float:
    predict(batch)  # the first call plans and allocates
    taken: list[float] = []
    while len(taken) < 5 or (sum(taken) < _SECONDS and len(taken) < 50):
        start = time.perf_counter()
        predict(batch)
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def check_table(passages: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, one row per form."""
    header = ["form", "agreement", "largest difference", "accuracy lost", "(95 % interval)", "size", "1 tile"]
    rows = [
        [
            name + _merging(each.get("merge_tokens")),
            f"{each['agreement']:.2%}",
            f"{each['largest_difference']:.1e}",
            f"{each['points_lost']:.2f} points",
            f"({each['low']:.2f} to {each['high']:.2f})",
            f"{each['bytes'] / 1e6:.1f} MB",
            f"{each['milliseconds']['1']:.1f} ms",
            f"{each['milliseconds'][str(_BATCH)]:.1f} ms",
        ]
        for name, each in passages.items()
    ]
    return [*header, f"{_BATCH} tiles"], rows


def _merging(blocks: list[int] | None) -> str:
    return f", tokens merged after {', '.join(map(str, blocks))}" if blocks else ""
