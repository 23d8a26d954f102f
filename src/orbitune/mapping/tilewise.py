"""Tile-wise prediction: each grid cell from its own tile, as in training."""

from typing import Protocol

import numpy as np

from orbitune.errors import ModelError
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.mapping.grid import PixelWindow

_BATCH = 256  # tiles cut out of a window at a time


class CellPredictor(Protocol):
    """Anything that predicts the classes of grid cells."""

    def predict(self, window: PixelWindow, where: np.ndarray) -> np.ndarray:
        """Return probabilities of cells, float32 (K, C + 1), see `grid.encode_cells`.

        Args:
            where: int (K, 2), row and column of each cell in the window.
        """


class TilewisePredictor:
    """Predict each cell from the window around it.

    Windows as large as a tile are predicted as `Classifier` predicts tiles, smaller ones by the bundle's
    patch head if it has one.

    Args:
        window: side of the windows in pixels.
        not_sure: whether to apply the bundle's OOD detector, or that of the patch head. The latter's limit
            for probabilities applies to smoothed ones, see `orbitune.mapping.smoothing`.

    Raises:
        ModelError: the patch head's file is damaged.
    """

    def __init__(self, bundle: Bundle, network: BundleModel, *, window: int, not_sure: bool) -> None:
        self._bundle = bundle
        self._network = network
        self._detector = bundle.ood_detector if not_sure else None
        self._limits = bundle.metadata.ood_detector
        self._patch_head = bundle.patch_head(window)

    def predict(self, window: PixelWindow, where: np.ndarray) -> np.ndarray:
        """Return probabilities of cells, as `CellPredictor.predict`."""
        starts = range(0, len(where), _BATCH)
        found = [self.predict_tiles(window.tiles(where[start : start + _BATCH])) for start in starts]
        return np.concatenate([np.empty((0, len(self._bundle.classes) + 1), np.float32), *found])

    def predict_tiles(self, tiles: np.ndarray) -> np.ndarray:
        """Return probabilities of tiles, float32 (K, C + 1).

        Args:
            tiles: uint8 or uint16 (K, tile, tile, bands).

        Returns:
            Class probabilities, see `Task.probabilities`; the last column is 1 for tiles that are out of
            distribution or, without a patch head, whose highest probability is too low, else 0.

        Raises:
            ModelError: there is a patch head, but the model is not computed on the fast path.
        """
        if self._patch_head:
            if not (plan := self._network.plan).fast:
                raise ModelError(
                    f"Windows smaller than a tile need the fast path, but {plan.why_not_fast}: use "
                    f"--window {self._bundle.tile_size[0]}."
                )
            logits, features = self._network.label_windows(self._patch_head.head, tiles)
            known = np.exp(logits)
        else:
            logits, features = self._network.compute(tiles)
            known = self._bundle.task.probabilities(logits, self._bundle.decision)
        if self._detector is None or self._limits is None:
            outside = np.zeros(len(tiles), bool)
        elif self._patch_head:
            outside = self._patch_head.out_of_distribution(features)
        else:
            # Cells of another scene are judged beside views of tiles as other scenes show them.
            threshold = self._limits.view_threshold or self._limits.threshold
            outside = self._detector.scores(features) > threshold
            outside |= known.max(1) < self._limits.min_confidence
        return np.column_stack([known * ~outside[:, None], outside]).astype(np.float32)
