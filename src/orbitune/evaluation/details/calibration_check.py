"""What the tiles of a calibration are enough to show.

A calibration error is never zero: in bins of a few tiles, accuracy differs from confidence by chance alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbitune.evaluation.calibration import Calibration
from orbitune.evaluation.details.reliability_table import ReliabilityBin, ece_of_calibrated
from orbitune.evaluation.statistics.intervals import wilson

LEAST_TILES = 100
"""Fewer tiles do not show calibration: the error that chance alone gives is as large as any other."""
_LEAST_IN_BIN = 20


@dataclass(frozen=True)
class CalibrationCheck:
    """A calibration beside what chance gives.

    Attributes:
        tiles: number of different tiles.
        ece: expected calibration error, 0..1.
        by_chance: upper end of the 95 % interval of the error of perfectly calibrated models.
        confidence, accuracy: means over all tiles, 0..1; of several labels a tile, over all labels.
    """

    tiles: int
    ece: float
    by_chance: float
    confidence: float
    accuracy: float

    @property
    def enough(self) -> bool:
        """Return whether there are enough tiles to judge the calibration at all."""
        return self.tiles >= LEAST_TILES

    @property
    def agrees(self) -> bool:
        """Return whether chance alone explains the error."""
        return self.ece <= self.by_chance


@dataclass(frozen=True)
class MergedBin:
    """Neighbouring bins of confidence; accuracy has the 95 % Wilson interval (low, high), 0..1."""

    confidence: float
    accuracy: float
    low: float
    high: float
    tiles: float


def check_calibration(calibration: Calibration, tiles: int) -> CalibrationCheck:
    """Compare a calibration error with that of a perfectly calibrated model.

    Args:
        calibration: of the tiles.
        tiles: number of different tiles.
    """
    table = calibration.reliability
    weights = np.array([each.count for each in table], float)
    weights /= weights.sum()
    known = calibration.ece_if_calibrated if calibration.predictions else None  # by earlier versions not
    chance = known or ece_of_calibrated(table, calibration.predictions or tiles)
    return CalibrationCheck(
        tiles=tiles,
        ece=calibration.ece,
        by_chance=chance[1],
        confidence=float(weights @ [each.confidence for each in table]),
        accuracy=float(weights @ [each.accuracy for each in table]),
    )


def merge_bins(table: Sequence[ReliabilityBin], tiles: int, *, expected: int = 0) -> list[MergedBin]:
    """Join neighbouring bins until each has 20 tiles.

    Args:
        table: by increasing confidence.
        tiles: number of different tiles, or of independent predictions.
        expected: number of errors, too, that the confidence of a bin must let expect.

    Returns:
        One bin or more; a single one may have fewer.
    """
    scale = tiles / sum(each.count for each in table)

    def is_full(group: Sequence[ReliabilityBin]) -> bool:
        errors = sum(each.count * (1 - each.confidence) for each in group)
        return scale * sum(each.count for each in group) >= _LEAST_IN_BIN and scale * errors >= expected

    groups: list[list[ReliabilityBin]] = [[]]
    for each in table:
        if is_full(groups[-1]):
            groups.append([])
        groups[-1].append(each)
    if len(groups) > 1 and not is_full(groups[-1]):
        rest = groups.pop()
        groups[-1] += rest
    return [_merge(group, scale) for group in groups]


def _merge(group: Sequence[ReliabilityBin], scale: float) -> MergedBin:
    count = sum(each.count for each in group)
    confidence = sum(each.count * each.confidence for each in group) / count
    accuracy = sum(each.count * each.accuracy for each in group) / count
    tiles = max(1, round(count * scale))
    low, high = wilson(round(accuracy * tiles), tiles)
    return MergedBin(confidence, accuracy, min(low, accuracy), max(high, accuracy), count * scale)
