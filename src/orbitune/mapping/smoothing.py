"""Smoothing of a map: the probabilities of each cell are mixed with those of its neighbours.

Neighbouring cells are mostly of one class, and the predictions for small windows are noisy. The parts of
such a map hold the probabilities as further planes, and are smoothed as they are read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.inference.patch_head import Confidence
from orbitune.mapping.grid import NOT_SURE, to_codes
from orbitune.mapping.part_store import PartStore

HALO = 1  # cells on each side that a smoothed cell depends on
_AROUND = 0.5  # weight of the mean over a cell and its neighbours
_FIRST = 3  # planes of every part, see `Worker.label`


@dataclass(frozen=True)
class Smoothing:
    """How smoothed probabilities become labels.

    Attributes:
        limit: cells whose probabilities are all lower are *not sure*.
        confidence: calibrates the highest ones.
    """

    limit: float
    confidence: Confidence


class SmoothedParts(PartStore):
    """Parts of a map, read as smoothed labels.

    Args:
        folder: of the finished parts.
        count: number of parts.
        smoothing: how they are labelled.
    """

    def __init__(self, folder: Path, *, count: int, smoothing: Smoothing) -> None:
        super().__init__(folder)
        self._count, self._smoothing = count, smoothing

    def read(self, number: int) -> np.ndarray:
        """Return codes, confidence and completeness of a part, uint8 (3, rows, columns)."""
        part = super().read(number)
        labels, planes = part[:_FIRST].copy(), part[_FIRST:]
        above = self._rows(number - 1, slice(-HALO, None)) if number else planes[:, :0]
        below = self._rows(number + 1, slice(HALO)) if number + 1 < self._count else planes[:, :0]
        smoothed = smoothed_codes(np.concatenate([above, planes, below], 1), self._smoothing)
        smoothed = smoothed[:, above.shape[1] :][:, : part.shape[1]]
        predicted = planes.any(0)
        labels[:2, predicted] = smoothed[:, predicted]
        return labels

    def _rows(self, number: int, rows: slice) -> np.ndarray:
        """Return the planes of some rows of a part, uint8 (C, rows, columns), without reading the others."""
        return np.asarray(np.load(self._part_file(number), mmap_mode="r")[_FIRST:, rows])


def probability_planes(predicted: np.ndarray, where: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    """Return planes of the probabilities of cells in steps of 1/255, uint8 (C, rows, columns).

    Args:
        predicted: float (K, C + 1), see `grid.encode_cells`.
        where: row and column of each cell, int (K, 2). All planes are 0 in the others, and in cells that are
            out of distribution.
        shape: rows and columns.
    """
    planes = np.zeros((predicted.shape[1] - 1, *shape), np.uint8)
    known = predicted[:, :-1] * (to_codes(predicted) != NOT_SURE)[:, None]
    planes[:, where[:, 0], where[:, 1]] = np.round(255 * known.T)
    return planes


def smoothed_codes(planes: np.ndarray, smoothing: Smoothing) -> np.ndarray:
    """Return codes and confidence, uint8 (2, rows, columns), both 0 for cells whose planes are.

    The confidence is the calibrated probability that the class is right, in percent.

    Args:
        planes: of `probability_planes`.
        smoothing: how they are labelled.
    """
    codes, confidence = np.zeros((2, *planes.shape[1:]), np.uint8)
    predicted = np.asarray(planes.any(0))
    own = planes[:, predicted] / np.float32(255)
    known = _AROUND * _means_around(planes, predicted)[:, predicted] + (1 - _AROUND) * own
    highest = known.max(0)
    sure = highest >= smoothing.limit
    codes[predicted] = np.where(sure, known.argmax(0) + 1, NOT_SURE)
    confidence[predicted] = np.where(sure, np.round(100 * smoothing.confidence(highest)), 0)
    return np.stack([codes, confidence])


def _means_around(planes: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the mean probabilities over the predicted cells among each cell and its neighbours, float32."""
    values = np.concatenate([planes / np.float32(255), predicted[None].astype(np.float32)])
    for axis in (1, 2):
        width = [(0, 0)] * 3
        width[axis] = (HALO, HALO)
        padded = np.moveaxis(np.pad(values, width), axis, 0)
        values = np.moveaxis(padded[:-2] + padded[1:-1] + padded[2:], 0, axis)
    return np.asarray(values[:-1] / np.maximum(values[-1:], 1))
