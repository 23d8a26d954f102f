"""What a model says of cells, tile by tile, as it was trained."""

from typing import Protocol

import numpy as np

from orbitune.evaluation.calibration import probabilities
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.mapping.grid import Part

_BATCH = 256  # tiles cut out at a time


class Answers(Protocol):
    """Says of cells what they are."""

    def of(self, part: Part, where: np.ndarray) -> np.ndarray:
        """Float32 (K, C + 1) of the cells (row, column) in int (K, 2); see `cells.coded`."""


class TilewisePredictor:
    """Every cell by its own tile, as `Classifier` would."""

    def __init__(self, bundle: Bundle, network: BundleModel, not_sure: bool) -> None:
        self._bundle = bundle
        self._network = network
        self._detector = bundle.ood_detector if not_sure else None

    def of(self, part: Part, where: np.ndarray) -> np.ndarray:
        """As `Answers.of`."""
        starts = range(0, len(where), _BATCH)
        answers = [self.of_tiles(part.tiles(where[start : start + _BATCH])) for start in starts]
        return np.concatenate([np.empty((0, len(self._bundle.classes) + 1), np.float32), *answers])

    def of_tiles(self, tiles: np.ndarray) -> np.ndarray:
        """The answers of tiles, uint8 (K, tile, tile, 3); the last column is 0 or 1, by the distance."""
        logits, features = self._network.compute(tiles)
        known = probabilities(logits, self._bundle.temperature)
        if self._detector is None:
            unlike = np.zeros(len(tiles), bool)
        else:
            unlike = self._detector.distances(features) > self._detector.threshold
        return np.column_stack([known * ~unlike[:, None], unlike]).astype(np.float32)
