"""Fit of the dense head to tile-wise predictions, and the agreement of the two."""

from dataclasses import dataclass

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.dense import DenseHead, estimate_cells
from orbitune.mapping.grid import PixelWindow, select_cells
from orbitune.mapping.kernel_head import KernelHead
from orbitune.mapping.texture import texture_features
from orbitune.mapping.tilewise import TilewisePredictor
from orbitune.mapping.worker import Worker

# Of the cells of a scene, those that the head is fitted to, and as many again that it leaves in doubt.
_FRACTION, _FEWEST, _MOST = 0.0125, 200, 1000
_SIDE, _PER_WINDOW = 14, 10  # cells along a side of a window that the sample is drawn from, and drawn in each


@dataclass(frozen=True)
class _Sample:
    """Cells drawn all over the scene.

    Attributes:
        features: texture of the drawn cells, float32 (N, D).
        places: row and column of each in the grid, int (N, 2).
        tiles: their pixels, (N, tile, tile, bands).
        windows: the windows that they were drawn from, with all cells that can have a class.
    """

    features: np.ndarray
    places: np.ndarray
    tiles: np.ndarray
    windows: list[tuple[PixelWindow, np.ndarray]]


def fit_dense_head(worker: Worker) -> DenseHead:
    """Fit the dense head to tile-wise predictions of cells drawn all over the scene.

    Raises:
        DataError: the scene holds no tile with enough data.
    """
    cells, tilewise = worker.spec.cells, worker.tilewise
    total = cells.rows * cells.columns
    sample = _draw_sample(worker, int(np.clip(_FRACTION * total, _FEWEST, _MOST)))
    measured = tilewise.measure_tiles(sample.tiles)
    kernel, left_out = KernelHead.fit(
        sample.features, sample.places, values=measured, across=cells.tile / cells.stride
    )
    margins = [
        tilewise.margins(estimate_cells(kernel, window, where=where)) for window, where in sample.windows
    ]
    margin = np.quantile(np.concatenate(margins), min(max(_FRACTION, _FEWEST / total), 1))
    compared = _compare(tilewise, left_out, measured=measured, margin=float(margin))
    return DenseHead(kernel, np.array([margin], np.float32), compared)


def _draw_sample(worker: Worker, count: int) -> _Sample:
    """Draw about `count` cells in windows all over the scene."""
    cells, random = worker.spec.cells, np.random.default_rng(0)
    height, width = min(_SIDE, cells.rows), min(_SIDE, cells.columns)
    features, places, tiles, windows = [], [], [], []
    for _ in range(count):  # ten times the windows that are needed where all have data
        row = int(random.integers(cells.rows - height + 1))
        column = int(random.integers(cells.columns - width + 1))
        window = worker.read_cells(row, column, rows=height, columns=width)
        known = select_cells(window, worker.not_sure)
        where = known[np.sort(random.permutation(len(known))[:_PER_WINDOW])]
        if len(where):
            features.append(texture_features(window)[tuple(where.T)])
            places.append(where + window.first)
            tiles.append(window.tiles(where))
            windows.append((window, known))
        if len(windows) * _PER_WINDOW >= count:
            break
    if not windows:
        raise DataError("The scene has too few complete tiles to fit dense predictions: use --mode tiles.")
    return _Sample(np.concatenate(features), np.concatenate(places), np.concatenate(tiles), windows)


def _compare(
    tilewise: TilewisePredictor, estimated: np.ndarray, *, measured: np.ndarray, margin: float
) -> np.ndarray:
    """Return how often cells have the same code as tile by tile, see `DenseHead.compared`.

    Args:
        tilewise: the predictor.
        estimated: of each cell, by a head that is fitted to the others.
        measured: by the network.
        margin: cells whose estimate is closer to another code are predicted tile by tile.
    """
    codes, others = (tilewise.decide(each).codes(tilewise.min_confidence) for each in (measured, estimated))
    same = (tilewise.margins(estimated) < margin) | (others == codes)
    each = [same[codes == code].mean() for code in np.unique(codes)]
    return np.array([len(same), same.mean(), np.mean(each)])
