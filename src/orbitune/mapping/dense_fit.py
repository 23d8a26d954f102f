"""Fit of the dense head to tile-wise predictions, and the agreement of the two."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from orbitune.errors import DataError, ModelError
from orbitune.mapping.dense import dense_features, min_rows
from orbitune.mapping.grid import CellGrid, PixelWindow, select_cells, to_codes
from orbitune.mapping.linear_head import DenseFit, LinearHead
from orbitune.mapping.map_report import Agreement
from orbitune.mapping.nearby import from_degrees
from orbitune.mapping.part_store import PartStore
from orbitune.mapping.worker import Worker

_FIT_FRACTION, _MIN_FIT, _MAX_FIT = 0.02, 300, 3000  # cells of a scene that the head is fitted to
_FIT_PER_WINDOW = 10
# Points of an adaptation in the mapped area: fewer would shift all labels to their classes.
_MIN_LABELLED = 10
_CHECKED = 200  # cells of the finished map that are predicted tile-wise again
_CHECKED_PER_PART = 20


def fit_dense_head(worker: Worker) -> DenseFit:
    """Fit the dense head to tile-wise predictions of cells drawn all over the scene.

    If the model was adapted to this scene, the head is then refitted to the labelled points, as that of the
    model was: the drawn predictions hold only a part of what the points teach.

    Raises:
        ModelError: the backbone cannot predict densely.
        DataError: the scene holds no tile with enough data.
    """
    if not (plan := worker.network.plan).fast:
        raise ModelError(f"Dense mode needs the fast path, but {plan.why_not_fast}: use --mode tiles.")
    head = LinearHead.fit(*_drawn_predictions(worker))
    features, labels = _labelled_features(worker)
    if len(labels) < _MIN_LABELLED or len(set(labels)) < 2:
        return DenseFit(head, labelled_points=0)
    head = LinearHead.fit(np.stack(features), np.eye(len(head.bias))[labels], start=head)
    return DenseFit(head, labelled_points=len(labels))


def _drawn_predictions(worker: Worker) -> tuple[np.ndarray, np.ndarray]:
    """Return dense features (N, D) and tile-wise predictions (N, C + 1) of drawn cells.

    Raises:
        DataError: the scene holds no tile with enough data.
    """
    cells, random = worker.spec.cells, np.random.default_rng(0)
    side = _block_side(cells)
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
    return np.concatenate(features), worker.tilewise.predict_tiles(np.concatenate(tiles))


def _labelled_features(worker: Worker) -> tuple[list[np.ndarray], list[int]]:
    """Return dense features (D,) and class indices of the points that the model was adapted to.

    Points of other scenes are left out, and so are those in cells that can have no class, or get their pixels
    from another scene of a mosaic.
    """
    cells = worker.spec.cells
    side = _block_side(cells)
    blocks = defaultdict(list)  # points near each other share the features of a block of cells
    for row, column, label in _labelled_cells(worker):
        top = min(row // side * side, cells.rows - side)
        left = min(column // side * side, cells.columns - side)
        blocks[top, left].append((row - top, column - left, label))
    features, labels = [], []
    for (top, left), found in sorted(blocks.items()):
        window = worker.read_cells(top, left, rows=side, columns=side)
        y, x, height, width = cells.window(top, left, rows=side, columns=side)
        owners = worker.scene.read_owners(y, x, height=height, width=width)
        own = np.isin(owners, worker.spec.adapted)
        usable = set(map(tuple, select_cells(replace(window, valid=own), worker.not_sure).tolist()))
        if not (kept := [each for each in found if each[:2] in usable]):
            continue
        of_cells = dense_features(worker.network, window)
        features += [of_cells[row, column].copy() for row, column, _ in kept]  # a view would keep the block
        labels += [label for _, _, label in kept]
    return features, labels


def _labelled_cells(worker: Worker) -> list[tuple[int, int, int]]:
    """Return row, column and class index of the points that the model was adapted to in this scene."""
    adaptation, cells = worker.bundle.metadata.adaptation, worker.spec.cells
    if adaptation is None or not adaptation.places or not worker.spec.adapted:
        return []
    places = adaptation.places
    grid = worker.scene.grid
    pixels, inside = grid.locate(*from_degrees([place.degrees for place in places], grid.crs))
    rows, columns = ((pixels - [cells.top, cells.left]) // cells.stride).T
    inside &= (rows >= 0) & (rows < cells.rows) & (columns >= 0) & (columns < cells.columns)
    labels = [worker.bundle.classes.index(place.label) for place in places]
    return [
        (int(row), int(column), label)
        for row, column, label, within in zip(rows, columns, labels, inside, strict=True)
        if within
    ]


def _block_side(cells: CellGrid) -> int:
    """Return the side in cells of the blocks that features are computed for."""
    return min(min_rows(cells), cells.rows, cells.columns)


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
