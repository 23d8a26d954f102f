"""Spatial context of grid cells: class probabilities averaged with those of similar cells around.

A window that is smaller than the training tile shows less ground than the model learned to name, so a cell is
named together with the windows around it that lie in such a tile. An edge-preserving filter keeps small
fields and narrow rivers: each neighbour counts as much as its probabilities resemble those of the cell, as in
a bilateral filter (Tomasi and Manduchi 1998, doi:10.1109/ICCV.1998.710815) with the Bhattacharyya coefficient
(Bhattacharyya 1943) for a kernel, which has no parameter.
"""

from dataclasses import dataclass

import numpy as np

from orbitune.mapping.grid import CellGrid

_OWN = 1 / 3  # weight of the cell's own window; it and those around it share the rest


@dataclass(frozen=True)
class SpatialContext:
    """The windows around a cell whose predictions count for it.

    Attributes:
        steps: number of windows on each side; 0 for none.
        spacing: distance between them in cells.
    """

    steps: int
    spacing: int

    @classmethod
    def within_tile(cls, cells: CellGrid, side: int) -> "SpatialContext":
        """Return the windows, side by side, whose centres lie in the training tile around a cell.

        Args:
            cells: grid of the cells; its `tile` is the window of a cell.
            side: of the training tile in pixels.
        """
        return cls(steps=side // (2 * cells.tile), spacing=cells.tile // cells.stride)

    @property
    def reach(self) -> int:
        """Return the distance to the farthest window in cells, along a row or a column."""
        return self.steps * self.spacing

    def average(self, probabilities: np.ndarray) -> np.ndarray:
        """Average the probabilities of each cell with those around it.

        Args:
            probabilities: float32 (rows, columns, C); all 0 for cells that do not count.

        Returns:
            float32 (rows, columns, C); rows sum to 1, or to 0 where the cell does not count.
        """
        if not self.steps:
            return probabilities
        rows, columns = probabilities.shape[:2]
        reach = self.reach
        padded = np.pad(probabilities, ((reach, reach), (reach, reach), (0, 0)))
        roots = np.sqrt(padded)
        own = roots[reach : reach + rows, reach : reach + columns]
        total, weights = np.zeros_like(probabilities), np.zeros((rows, columns, 1), np.float32)
        offsets = range(0, 2 * reach + 1, self.spacing)
        for top, left in ((top, left) for top in offsets for left in offsets):
            there = np.s_[top : top + rows, left : left + columns]
            likeness = (own * roots[there]).sum(-1, keepdims=True)
            total += likeness * padded[there]
            weights += likeness
        around = total / np.maximum(weights, np.finfo(np.float32).tiny)
        return _OWN * probabilities + (1 - _OWN) * around
