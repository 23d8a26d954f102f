"""Fit of the dense head to tile-wise predictions, and the agreement of the two."""

import numpy as np

from orbitune.errors import DataError, ModelError
from orbitune.mapping.dense import dense_features, min_rows
from orbitune.mapping.grid import PixelWindow, select_cells, to_codes
from orbitune.mapping.linear_head import LinearHead
from orbitune.mapping.map_report import Agreement
from orbitune.mapping.part_store import PartStore
from orbitune.mapping.worker import Worker

_FIT_FRACTION, _MIN_FIT, _MAX_FIT = 0.02, 300, 3000  # cells of a scene that the head is fitted to
_FIT_PER_WINDOW = 10
_CHECKED = 200  # cells of the finished map that are predicted tile-wise again
_CHECKED_PER_PART = 20


def fit_dense_head(worker: Worker) -> LinearHead:
    """Fit the dense head to tile-wise predictions of cells drawn all over the scene.

    Raises:
        ModelError: the backbone cannot predict densely.
        DataError: the scene holds no tile with enough data.
    """
    if not (plan := worker.network.plan).fast:
        raise ModelError(f"Dense mode needs the fast path, but {plan.why_not_fast}: use --mode tiles.")
    cells, random = worker.spec.cells, np.random.default_rng(0)
    side = min(min_rows(cells), cells.rows, cells.columns)
    wanted = int(np.clip(_FIT_FRACTION * cells.rows * cells.columns, _MIN_FIT, _MAX_FIT)) // _FIT_PER_WINDOW
    features, tiles = [], []
    for _ in range(10 * wanted):
        row, column = (int(random.integers(n - side + 1)) for n in (cells.rows, cells.columns))
        window = worker.read_cells(row, column, rows=side, columns=side)
        where = _draw_cells(window, _FIT_PER_WINDOW, random=random, not_sure=worker.not_sure)
        if len(where):
            features.append(dense_features(worker.network, window)[tuple(where.T)])
            tiles.append(window.tiles(where))
        if len(features) == wanted:
            break
    if not features:
        raise DataError("The scene has too few complete tiles to fit dense predictions: use --mode tiles.")
    return LinearHead.fit(np.concatenate(features), worker.tilewise.predict_tiles(np.concatenate(tiles)))


def measure_agreement(worker: Worker, store: PartStore) -> Agreement:
    """Predict some cells of a finished dense map tile by tile, and compare the codes.

    Args:
        worker: predictor of the map.
        store: the finished parts.

    Returns:
        Number of compared cells, and the fraction with equal codes.
    """
    random, parts = np.random.default_rng(1), worker.spec.parts
    dense, tiles = [], []
    visited = random.permutation(parts)[: _CHECKED // _CHECKED_PER_PART].tolist()
    for number in visited:
        window = worker.read_part(number)
        where = _draw_cells(window, -(-_CHECKED // len(visited)), random=random, not_sure=worker.not_sure)
        if len(where):
            dense.append(store.read(number)[0][tuple(where.T)])
            tiles.append(window.tiles(where))
    if not tiles:
        return Agreement(cells=0)
    codes = to_codes(worker.tilewise.predict_tiles(np.concatenate(tiles)))
    same = np.concatenate(dense) == codes
    each = [float(same[codes == code].mean()) for code in np.unique(codes)]
    return Agreement(cells=len(same), fraction=float(same.mean()), mean_by_code=float(np.mean(each)))


def _draw_cells(
    window: PixelWindow, count: int, *, random: np.random.Generator, not_sure: bool
) -> np.ndarray:
    """Draw up to `count` cells that can have a class, in row-major order."""
    where = select_cells(window, not_sure)
    return where[np.sort(random.permutation(len(where))[:count])]
