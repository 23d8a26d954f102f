"""Agreement of a dense map with tile-wise predictions."""

import numpy as np

from orbitune.mapping.grid import select_cells, to_codes
from orbitune.mapping.map_report import Agreement
from orbitune.mapping.part_store import PartStore
from orbitune.mapping.smoothing import HALO, probability_planes, smoothed_codes
from orbitune.mapping.worker import Worker

_CHECKED, _SIDE = 200, 5  # cells of the finished map predicted tile-wise again; side of a block of them


def measure_agreement(worker: Worker, store: PartStore, *, fitted: np.ndarray) -> Agreement:
    """Predict some cells of a finished dense map tile by tile, and compare the codes.

    Args:
        worker: predictor of the map.
        store: the finished parts.
        fitted: row and column of cells that the dense head was fitted to, int (N, 2); they do not count.

    Returns:
        Number of compared cells, and the fraction with equal codes.
    """
    random, cells = np.random.default_rng(1), worker.spec.cells
    counted = np.zeros((cells.rows, cells.columns), bool)
    counted[tuple(fitted.T)] = True
    made: list[int] = []
    tiles: list[int] = []
    for _ in range(10 * _CHECKED // _SIDE**2):
        row, column = (int(random.integers(max(1, n - _SIDE + 1))) for n in (cells.rows, cells.columns))
        where, codes = _tilewise_block(worker, row, column)
        where += (row, column)
        new = ~counted[tuple(where.T)]
        counted[tuple(where.T)] = True
        made += _codes_at(store, worker.spec.rows, where[new])
        tiles += codes[new].tolist()
        if len(tiles) >= _CHECKED:
            break
    if not tiles:
        return Agreement(cells=0)
    same, codes = np.array(made) == np.array(tiles), np.array(tiles)
    each = [float(same[codes == code].mean()) for code in np.unique(codes)]
    return Agreement(cells=len(same), fraction=float(same.mean()), mean_by_code=float(np.mean(each)))


def _tilewise_block(worker: Worker, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Label a block of cells tile by tile, as a map does.

    Returns:
        Row and column in the block of the cells that can have a class, int (K, 2), and their codes, (K,).
    """
    cells, smoothing = worker.spec.cells, worker.spec.smoothing
    halo = 0 if smoothing is None else HALO
    top, left = max(0, row - halo), max(0, column - halo)
    bottom = min(cells.rows, row + _SIDE + halo)
    right = min(cells.columns, column + _SIDE + halo)
    window = worker.read_cells(top, left, rows=bottom - top, columns=right - left)
    where = select_cells(window, worker.not_sure)
    predicted = worker.tilewise.predict(window, where)
    codes = to_codes(predicted)
    if smoothing is not None:
        planes = probability_planes(predicted, where, shape=(bottom - top, right - left))
        smoothed = smoothed_codes(planes, smoothing)[0][tuple(where.T)]
        codes = np.where(smoothed > 0, smoothed, codes)
    where = where - (row - top, column - left)
    inner = ((where >= 0) & (where < _SIDE)).all(1)
    return where[inner], codes[inner]


def _codes_at(store: PartStore, rows: int, where: np.ndarray) -> list[int]:
    """Return codes of cells (K, 2) of the finished map, whose parts have `rows` rows."""
    numbers = where[:, 0] // rows
    codes = {number: store.read(number)[0] for number in np.unique(numbers).tolist()}
    return [
        int(codes[number][row % rows, column]) for number, (row, column) in zip(numbers, where, strict=True)
    ]
