"""Tile-wise prediction: each grid cell from its own tile, as in training."""

from typing import Protocol

import numpy as np
from scipy.special import logit

from orbitune.evaluation.calibration import probabilities
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.mapping.grid import CellPredictions, PixelWindow

_BATCH = 256  # tiles cut out of a window at a time
_SCORE_UNITS = 6.0  # an OOD score of twice its threshold is that far from it, in logits
_SURE = 1 - 1e-6  # the highest probability whose logit is finite


class CellPredictor(Protocol):
    """Anything that predicts the classes of grid cells."""

    def predict(self, window: PixelWindow, where: np.ndarray) -> CellPredictions:
        """Return the predictions of cells.

        Args:
            where: int (K, 2), row and column of each cell in the window.
        """


class TilewisePredictor:
    """Predict each cell from the tile around it, as `Classifier` does.

    Args:
        not_sure: whether to apply the bundle's OOD detector.

    Attributes:
        min_confidence: cells with a lower class probability are *not sure*, 0..1.
    """

    def __init__(self, bundle: Bundle, network: BundleModel, *, not_sure: bool) -> None:
        self._bundle = bundle
        self._network = network
        self._detector = bundle.ood_detector if not_sure else None
        self._limits = bundle.metadata.ood_detector
        self.min_confidence = self._limits.min_confidence if self._detector and self._limits else 0.0

    def predict(self, window: PixelWindow, where: np.ndarray) -> CellPredictions:
        """Return the predictions of cells, as `CellPredictor.predict`."""
        return self.decide(self.measure(window, where))

    def measure(self, window: PixelWindow, where: np.ndarray) -> np.ndarray:
        """Return what predictions of cells follow from, see `measure_tiles`."""
        starts = range(0, len(where), _BATCH)
        found = [self.measure_tiles(window.tiles(where[start : start + _BATCH])) for start in starts]
        return np.concatenate([np.empty((0, len(self._bundle.classes) + 1), np.float32), *found])

    def measure_tiles(self, tiles: np.ndarray) -> np.ndarray:
        """Return what predictions of tiles follow from, float32 (K, C + 1).

        Args:
            tiles: uint8 or uint16 (K, tile, tile, bands).

        Returns:
            Logits of the classes; and the OOD score above its threshold, in units of about a logit.
        """
        logits, features = self._network.compute(tiles)
        logits = logits / self._bundle.temperature
        if self._detector is None or self._limits is None:
            return np.column_stack([logits, np.full(len(tiles), -_SCORE_UNITS)]).astype(np.float32)
        # Cells of another scene are judged beside views of tiles as other scenes show them.
        threshold = self._limits.view_threshold or self._limits.threshold
        scores = (self._detector.scores(features) / threshold - 1) * _SCORE_UNITS
        return np.column_stack([logits, scores]).astype(np.float32)

    def decide(self, measured: np.ndarray) -> CellPredictions:
        """Return the predictions that follow from what `measure_tiles` returns."""
        known = probabilities(measured[:, :-1]).astype(np.float32)
        return CellPredictions(known, outside=measured[:, -1] > 0)

    def margins(self, measured: np.ndarray) -> np.ndarray:
        """Return by how much of a logit cells miss another code at least, float (K,).

        Args:
            measured: of the cells, from `measure_tiles` or an estimate of it.
        """
        logits, score = measured[:, :-1], measured[:, -1]
        best = np.sort(logits, 1)[:, -2:]
        lacks = logit(self.min_confidence) - logit(probabilities(logits).max(1).clip(0, _SURE))
        unsure = np.maximum(score, lacks)
        return np.where(unsure > 0, unsure, np.minimum(best[:, -1] - best[:, 0], -unsure))
