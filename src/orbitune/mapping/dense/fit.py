"""Fit of the dense head to tile-wise predictions.

The head is in doubt where its two highest probabilities are close. How close is chosen on each scene: so that
of the cells without the most frequent class, nine of ten agree with their tile-wise prediction or are in
doubt. This is measured on the drawn cells, each half of them by a head that is fitted to the other half. The
halves lie in different squares of the scene.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from orbitune.errors import DataError, ModelError
from orbitune.inference.linear_head import LinearHead
from orbitune.mapping.dense.predictor import (
    MIN_FIT,
    WINDOW_TOKENS,
    DenseFit,
    dense_features,
    margins,
    min_rows,
)
from orbitune.mapping.grid import CellGrid, PixelWindow, select_cells
from orbitune.mapping.nearby import from_degrees
from orbitune.mapping.worker import Worker

_FIT_FRACTION, _MAX_FIT = 0.02, 3000  # cells of a scene that the head is fitted to
_FIT_PER_BLOCK = 10
_SQUARE = 7  # cells along the side of a square, see `_choose_margin`
_AGREEMENT = 0.9  # of the cells without the most frequent class
# Points of an adaptation in the mapped area: fewer would shift all labels to their classes.
_MIN_LABELLED = 10


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
    where, features, predicted = _drawn_predictions(worker)
    margin = _choose_margin(features, predicted, squares=(where // _SQUARE).sum(1))
    fit = DenseFit(LinearHead.fit(features, predicted), margin, where)
    of_points, labels = _labelled_features(worker)
    if len(labels) < _MIN_LABELLED or len(set(labels)) < 2:
        return fit
    head = LinearHead.fit(np.stack(of_points), np.eye(len(fit.head.bias))[labels], start=fit.head)
    return replace(fit, head=head, labelled_points=len(labels))


def _choose_margin(features: np.ndarray, predicted: np.ndarray, *, squares: np.ndarray) -> float:
    """Return the smallest margin that leaves enough agreement, see the module.

    Where it cannot be measured, all cells are in doubt.

    Args:
        features, predicted: of `_drawn_predictions`.
        squares: number of each cell's square, int (N,). Those with even and with odd numbers are the halves.
    """
    halves = squares % 2
    if len(np.unique(halves)) < 2:
        return 1.0
    found = np.empty_like(predicted)
    for half in (0, 1):
        rest = halves != half
        found[~rest] = LinearHead.fit(features[rest], predicted[rest])(features[~rest])
    codes = predicted.argmax(1)
    rarer = codes != np.bincount(codes).argmax()
    wrong = margins(found)[rarer & (found.argmax(1) != codes)]
    accepted = int((1 - _AGREEMENT) * rarer.sum())
    return float(np.sort(wrong)[::-1][accepted]) if len(wrong) > accepted else 0.0


def _drawn_predictions(worker: Worker) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the place of drawn cells in the map, and what they are fitted on.

    Returns:
        Row and column, int (N, 2); dense features, float32 (N, D); tile-wise predictions, float (N, C + 1).

    Raises:
        DataError: the scene holds no tile with enough data.
    """
    where, features, tiles = [], [], []
    for drawn in _draw_cells(worker):
        where.append(drawn.where + drawn.origin)
        features.append(dense_features(worker.network, drawn.window)[tuple(drawn.where.T)])
        tiles.append(drawn.window.tiles(drawn.where))
    if not where:
        raise DataError("The scene has too few complete tiles to fit dense predictions: use --mode tiles.")
    predicted = worker.tilewise.predict_tiles(np.concatenate(tiles))
    return np.concatenate(where), np.concatenate(features), predicted


@dataclass(frozen=True)
class _DrawnCells:
    """Cells of a block.

    Attributes:
        window: pixels of the block.
        origin: row and column of its first cell in the map.
        where: row and column of the drawn cells in the block, int (K, 2), in row-major order.
    """

    window: PixelWindow
    origin: tuple[int, int]
    where: np.ndarray


def _draw_cells(worker: Worker) -> Iterator[_DrawnCells]:
    """Draw the cells that the dense head is fitted to, all over the scene: no cell twice, at most half."""
    cells, random = worker.spec.cells, np.random.default_rng(0)
    taken = np.zeros((cells.rows, cells.columns), bool)
    wanted = int(np.clip(_FIT_FRACTION * taken.size, MIN_FIT, _MAX_FIT))
    wanted = min(wanted, -(-taken.size // 2))
    for _ in range(wanted):
        row, column = (int(random.integers(n)) for n in taken.shape)
        top, left, rows, columns = _block_around(worker, row, column)
        free = ~taken[top : top + rows, left : left + columns]
        window = worker.read_cells(top, left, rows=rows, columns=columns)
        usable = select_cells(window, worker.not_sure)
        where = usable[free[tuple(usable.T)]]
        remaining = len(where) - len(usable) // 2  # half of a block's cells are not drawn either
        count = min(_FIT_PER_BLOCK, wanted - int(taken.sum()), remaining)
        if count <= 0:
            continue
        where = where[np.sort(random.permutation(len(where))[:count])]
        taken[top + where[:, 0], left + where[:, 1]] = True
        yield _DrawnCells(window, (top, left), where)
        if taken.sum() == wanted:
            return


def _labelled_features(worker: Worker) -> tuple[list[np.ndarray], list[int]]:
    """Return dense features (D,) and class indices of the points that the model was adapted to.

    Points of other scenes are left out, and so are those in cells that can have no class, or get their pixels
    from another scene of a mosaic.
    """
    cells = worker.spec.cells
    blocks = defaultdict(list)  # points near each other share the features of a block of cells
    for row, column, label in _labelled_cells(worker):
        block = _block_around(worker, row, column)
        blocks[block].append((row - block[0], column - block[1], label))
    features, labels = [], []
    for (top, left, rows, columns), found in sorted(blocks.items()):
        window = worker.read_cells(top, left, rows=rows, columns=columns)
        y, x, height, width = cells.window(top, left, rows=rows, columns=columns)
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


def _block_around(worker: Worker, row: int, column: int) -> tuple[int, int, int, int]:
    """Return first row, first column, rows and columns of a block of cells with the given one.

    The block begins where a token window of the map does, and ends where one does or the map, so that the
    features of its cells are those that they are labelled from: tokens differ with their place in a window.
    """
    cells = worker.spec.cells
    part = row - row % worker.spec.rows
    top, rows = _whole_windows(row - part, end=min(worker.spec.rows, cells.rows - part), cells=cells)
    left, columns = _whole_windows(column, end=cells.columns, cells=cells)
    return part + top, left, rows, columns


def _whole_windows(place: int, *, end: int, cells: CellGrid) -> tuple[int, int]:
    """Return the first cell and the number of those, along an axis, that tokens of whole windows cover.

    Args:
        place: the cell that has to be among them.
        end: number of cells along the axis; tokens of the last window may lie beyond.
    """
    first = place - place % WINDOW_TOKENS
    count = min_rows(cells)
    if first + count <= place:
        count += WINDOW_TOKENS
    return first, min(count, end - first)
