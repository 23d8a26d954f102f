"""Windows of a scene around labelled points, read as a map reads its cells."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.areas.reference_points import ReferencePoints
from orbitune.mapping.grid import select_cells
from orbitune.mapping.nearby import near_any
from orbitune.mapping.worker import Worker
from orbitune.models.lineage.adaptation import MAX_PLACES

_SHIFT = 0.25  # of a window's side: the largest distance of a point from the middle of a shifted window


@dataclass(frozen=True)
class LabelledWindows:
    """Windows around labelled points.

    Attributes:
        tiles: uint8 or uint16 (N, V, S, S, bands). The first window of a point is that of its
            cell on a map; the others hold the point in or near their middle.
        labels: class indices, int64 (N,).
        pixels: row and column of each point, int (N, 2).
        side: of a window, in pixels.
        used: whether each point has windows, bool (M,); the others lie outside the scene or where it has too
            little data for a label.
    """

    tiles: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray
    side: int
    used: np.ndarray

    @property
    def left_out(self) -> int:
        """Number of points without windows."""
        return int((~self.used).sum())

    @property
    def cells(self) -> np.ndarray:
        """Row and column of each point's cell, int (N, 2)."""
        return self.pixels // self.side

    def near(self, pixels: np.ndarray) -> np.ndarray:
        """Return which points have windows that may overlap with those of pixels (M, 2), bool (N,)."""
        return near_any(self.pixels, pixels, side=self.side)

    def count_close(self) -> int:
        """Return the number of points whose windows overlap with another cell's."""
        close = 0
        for pixel, cell in zip(self.pixels, self.cells, strict=True):
            close += bool((self.near(pixel[None]) & (self.cells != cell).any(1)).any())
        return close

    @classmethod
    def read(cls, worker: Worker, points: ReferencePoints) -> "LabelledWindows":
        """Read the windows around points.

        Args:
            worker: of a map with a label for each window.
            points: their classes are those of the worker's model.

        Raises:
            DataError: no point lies in the scene where it has data, or more than `MAX_PLACES` lie in it.
        """
        side = worker.spec.cells.stride
        grid = worker.scene.grid
        pixels, inside = grid.locate(*points.coordinates(grid.crs))
        if (count := int(inside.sum())) > MAX_PLACES:
            raise DataError(
                f"{count:,} labelled points of {points.layer.path} lie in the scene, and an adaptation takes "
                f"at most {MAX_PLACES:,}: keep a random sample of them."
            )
        found = [
            _windows_around(worker, pixel) if within else None
            for pixel, within in zip(pixels, inside, strict=True)
        ]
        kept = np.array([windows is not None for windows in found])
        if not kept.any():
            raise DataError(
                f"None of the {len(kept):,} labelled points of {points.layer.path} lies in the scene where "
                "it has data."
            )
        order = {name: index for index, name in enumerate(worker.bundle.classes)}
        return cls(
            np.stack([windows for windows in found if windows is not None]),
            np.array([order[name] for name in points.labels[kept]]),
            pixels[kept],
            side,
            kept,
        )


def _windows_around(worker: Worker, pixel: np.ndarray) -> np.ndarray | None:
    """Return the windows of a point, (V, S, S, bands); None if a map has no label."""
    side = worker.spec.cells.stride
    row, column = (pixel // side).tolist()
    block = worker.read_cells(row - 1, column - 1, rows=3, columns=3)
    if [1, 1] not in select_cells(block).tolist():
        return None
    middle = pixel % side + side - side // 2
    far = int(_SHIFT * side)
    shifted = [middle + shift for shift in product((-far, 0, far), repeat=2)]
    by_pixel = replace(block, cells=replace(block.cells, stride=1))
    return by_pixel.tiles(np.array([[side, side], *shifted]))
